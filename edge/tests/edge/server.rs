//! A server of the edge protocol that does what a test says, over TCP or in the same process.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use schema::proto::{EdgeMessage, Hello, Report, ServerMessage, edge_message, server_message};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::support::LONG;

/// One session as the server sees it.
pub(crate) struct Link {
    from_edge: Streaming<EdgeMessage>,
    to_edge: mpsc::Sender<Result<ServerMessage, Status>>,
}

impl Link {
    pub(crate) async fn send(&self, body: server_message::Body) {
        self.to_edge.send(Ok(ServerMessage { body: Some(body) })).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> edge_message::Body {
        timeout(LONG, self.from_edge.message()).await.expect("a message").unwrap().unwrap().body.unwrap()
    }

    pub(crate) async fn hello(&mut self) -> Hello {
        match self.receive().await {
            edge_message::Body::Hello(hello) => hello,
            other => panic!("no hello: {other:?}"),
        }
    }

    /// Waits until the edge has ended the session.
    pub(crate) async fn ended(&mut self) {
        while let Ok(Some(_)) = timeout(LONG, self.from_edge.message()).await.expect("an end") {}
    }

    /// The next report; counters on the way are passed over.
    pub(crate) async fn report(&mut self) -> Report {
        loop {
            match self.receive().await {
                edge_message::Body::Report(report) => return report,
                edge_message::Body::Stats(_)
                | edge_message::Body::Checked(_)
                | edge_message::Body::Proven(_)
                | edge_message::Body::Connections(_)
                | edge_message::Body::Usage(_)
                | edge_message::Body::Quotas(_)
                | edge_message::Body::QuotaReset(_)
                | edge_message::Body::Policy(_) => {}
                edge_message::Body::Hello(hello) => panic!("a second hello: {hello:?}"),
            }
        }
    }
}

/// A server whose sessions the test answers.
pub(crate) struct Server {
    sessions: mpsc::Receiver<Link>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn on(listener: TcpListener) -> Self {
        let (control, sessions) = Control::new();
        let serving = tonic::transport::Server::builder()
            .add_service(control)
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self { sessions, task: tokio::spawn(async move { serving.await.unwrap() }) }
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        Self::on(socket.listen(16).unwrap())
    }

    pub(crate) fn in_process(streams: mpsc::Receiver<DuplexStream>) -> Self {
        let (control, sessions) = Control::new();
        let incoming = tokio_stream::StreamExt::map(ReceiverStream::new(streams), Ok::<_, std::io::Error>);
        let serving = tonic::transport::Server::builder().add_service(control).serve_with_incoming(incoming);
        Self { sessions, task: tokio::spawn(async move { serving.await.unwrap() }) }
    }

    /// The next session.
    pub(crate) async fn session(&mut self) -> Link {
        timeout(LONG, self.sessions.recv()).await.expect("a session").unwrap()
    }

    /// Ends the server and its connections.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

#[derive(Clone)]
struct Control(mpsc::Sender<Link>);

impl Control {
    fn new() -> (Self, mpsc::Receiver<Link>) {
        let (sender, receiver) = mpsc::channel(8);
        (Self(sender), receiver)
    }
}

impl NamedService for Control {
    const NAME: &'static str = "portunus.v1.EdgeControl";
}

impl tower::Service<http::Request<tonic::body::Body>> for Control {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/portunus.v1.EdgeControl/Session");
        let control = self.clone();
        let mut grpc = Grpc::new(tonic_prost::ProstCodec::<ServerMessage, EdgeMessage>::default());
        Box::pin(async move { Ok(grpc.streaming(control, request).await) })
    }
}

impl StreamingService<EdgeMessage> for Control {
    type Response = ServerMessage;
    type ResponseStream = ReceiverStream<Result<ServerMessage, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<EdgeMessage>>) -> Self::Future {
        let (to_edge, messages) = mpsc::channel(8);
        let link = Link { from_edge: request.into_inner(), to_edge };
        self.0.try_send(link).expect("the test takes its sessions");
        ready(Ok(Response::new(ReceiverStream::new(messages))))
    }
}
