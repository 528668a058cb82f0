//! Sessions of edges that do what they are told at once: the protocol is real, the sockets are not there. I/O.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::proto::{self, edge_message, server_message};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Sessions that are opened at the same time.
const AT_ONCE: usize = 64;
/// How long the server may take for anything here.
const PATIENCE: Duration = Duration::from_mins(5);

/// One edge took a desired state.
struct Took {
    edge: usize,
    /// Of the target of its rule.
    port: u16,
    at: Instant,
}

/// When a change was everywhere.
pub(crate) struct Seen {
    pub(crate) last_sent: Instant,
    pub(crate) last_acknowledged: Instant,
}

/// All sessions.
pub(crate) struct Sessions {
    url: Arc<str>,
    /// Where the server keeps what its operators show.
    token: PathBuf,
    took: mpsc::UnboundedReceiver<Took>,
    tell: mpsc::UnboundedSender<Took>,
    /// The port that each edge has, by its index.
    ports: Vec<u16>,
    tasks: JoinSet<()>,
}

impl Sessions {
    pub(crate) async fn open(url: &str, token: PathBuf, names: &[String]) -> Self {
        let (tell, took) = mpsc::unbounded_channel();
        let mut sessions = Self { url: url.into(), token, took, tell, ports: Vec::new(), tasks: JoinSet::new() };
        sessions.more(names).await;
        sessions
    }

    pub(crate) async fn more(&mut self, names: &[String]) {
        let (open, mut opened) = mpsc::channel(AT_ONCE);
        let mut waiting = 0;
        for name in names {
            if waiting == AT_ONCE {
                opened.recv().await;
                waiting -= 1;
            }
            let (edge, url, name) = (self.ports.len(), self.url.clone(), name.clone());
            let (tell, open) = (self.tell.clone(), open.clone());
            self.ports.push(0);
            self.tasks.spawn(async move { session(edge, &url, name, tell, open).await });
            waiting += 1;
        }
        for _ in 0..waiting {
            opened.recv().await;
        }
    }

    fn note(&mut self, took: &Took) {
        self.ports[took.edge] = took.port;
    }

    async fn next(&mut self) -> Took {
        let took = tokio::time::timeout(PATIENCE, self.took.recv()).await;
        let took = took.expect("the server answers").expect("a sender is kept");
        self.note(&took);
        took
    }

    /// Waits until one edge has a rule whose target has this port.
    pub(crate) async fn one_gets(&mut self, edge: usize, port: u16) -> Instant {
        loop {
            let took = self.next().await;
            if (took.edge, took.port) == (edge, port) {
                return took.at;
            }
        }
    }

    /// Waits until every edge has a rule whose target has this port, and the server knows it.
    pub(crate) async fn all_run(&mut self, port: u16) -> Seen {
        let mut last_sent = Instant::now();
        while self.ports.iter().any(|known| *known != port) {
            last_sent = self.next().await.at;
        }
        Seen { last_sent, last_acknowledged: self.is_settled().await }
    }

    /// Waits until the server has an acknowledgement from everybody, and no apply runs.
    pub(crate) async fn is_settled(&self) -> Instant {
        let operator = self.url.replace(":17000", ":17001");
        let client = reqwest::Client::new();
        let token = std::fs::read_to_string(&self.token).expect("a server that is up has a token");
        let begin = Instant::now();
        loop {
            let answer = client
                .get(format!("{operator}/v1/status"))
                .bearer_auth(token.trim())
                .send()
                .await
                .expect("the server answers");
            let status: serde_json::Value = answer.json().await.expect("a status is JSON");
            let edges = status["edges"].as_array().expect("a list of edges");
            let is_there = |edge: &serde_json::Value| edge["generation"] == edge["desired_generation"];
            if edges.len() >= self.ports.len() && edges.iter().all(is_there) {
                return Instant::now();
            }
            assert!(begin.elapsed() < PATIENCE, "the fleet settles");
        }
    }
}

fn message(body: edge_message::Body) -> proto::EdgeMessage {
    proto::EdgeMessage { body: Some(body) }
}

/// One session, until the server ends it.
async fn session(edge: usize, url: &str, name: String, tell: mpsc::UnboundedSender<Took>, opened: mpsc::Sender<()>) {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL").tcp_nodelay(true);
    let channel = loop {
        match endpoint.connect().await {
            Ok(channel) => break channel,
            // The server is not there yet.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let (outgoing, receiver) = mpsc::channel(4);
    let hello = proto::Hello {
        edge: name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: ["tcp", "udp", "port_range", "ipv6"].map(str::to_owned).to_vec(),
        limits: Some(proto::Limits { ports_per_range: 0, file_descriptors: 10_000, rules: 0 }),
        own_listeners: Vec::new(),
        report: Some(proto::Report::default()),
        ..proto::Hello::default()
    };
    outgoing.send(message(edge_message::Body::Hello(hello))).await.expect("the receiver is there");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("connected");
    let path = http::uri::PathAndQuery::from_static("/portunus.v1.EdgeControl/Session");
    let codec: tonic_prost::ProstCodec<proto::EdgeMessage, proto::ServerMessage> = tonic_prost::ProstCodec::default();
    let request = tonic::Request::new(ReceiverStream::new(receiver));
    let mut incoming = client.streaming(request, path, codec).await.expect("a session").into_inner();
    while let Ok(Some(received)) = incoming.message().await {
        match received.body {
            Some(server_message::Body::Welcome(_)) => _ = opened.send(()).await,
            Some(server_message::Body::Desired(desired)) => {
                let at = Instant::now();
                let port =
                    desired.rules.first().and_then(|rule| rule.targets.first()).map_or(0, |target| target.first_port);
                let report = done(desired);
                if outgoing.send(message(edge_message::Body::Report(report))).await.is_err() {
                    return;
                }
                _ = tell.send(Took { edge, port: port as u16, at });
            }
            _ => {}
        }
    }
}

/// What an edge says that serves all that it was told.
fn done(desired: proto::DesiredState) -> proto::Report {
    let rules = desired.rules.into_iter().map(|rule| proto::RuleReport {
        rule: rule.name.clone(),
        state: proto::RuleState::Active.into(),
        running: Some(rule),
        ..proto::RuleReport::default()
    });
    proto::Report {
        lineage: desired.lineage,
        generation: desired.generation,
        running_digest: desired.digest.clone(),
        desired_digest: desired.digest,
        rules: rules.collect(),
        refused: None,
        answers: desired.generation,
        ..proto::Report::default()
    }
}
