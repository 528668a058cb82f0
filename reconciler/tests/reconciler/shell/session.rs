//! The edge's end of a session, message by message, well-formed or not.

use std::net::SocketAddr;

use schema::capability::Capability;
use schema::proto::{self, EdgeMessage, ServerMessage, edge_message, server_message};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};

use super::{LONG, tls};

/// A session, or what became of it.
#[derive(Debug)]
pub(super) struct Session {
    to_server: mpsc::Sender<EdgeMessage>,
    from_server: Streaming<ServerMessage>,
    /// The overrides that came with the welcome.
    pub(super) overrides: Vec<proto::TargetOverride>,
}

pub(super) fn hello(edge: &str) -> EdgeMessage {
    message(edge_message::Body::Hello(proto::Hello {
        edge: edge.to_owned(),
        version: "test".to_owned(),
        capabilities: Capability::ALL.iter().map(|capability| capability.as_str().to_owned()).collect(),
        ..proto::Hello::default()
    }))
}

pub(super) fn message(body: edge_message::Body) -> EdgeMessage {
    EdgeMessage { body: Some(body) }
}

impl Session {
    /// Sends a first message; the server's status where it does not like it.
    pub(super) async fn begin(server: SocketAddr, first: EdgeMessage) -> Result<Self, Status> {
        let edge = match &first.body {
            Some(edge_message::Body::Hello(hello)) => hello.edge.clone(),
            _ => String::new(),
        };
        let channel = tls::channel(server, &edge).await;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.unwrap();
        let (to_server, messages) = mpsc::channel(8);
        to_server.send(first).await.unwrap();
        let codec = tonic_prost::ProstCodec::<EdgeMessage, ServerMessage>::default();
        let path = PathAndQuery::from_static("/portunus.v1.EdgeControl/Session");
        let call = grpc.streaming(Request::new(ReceiverStream::new(messages)), path, codec);
        let from_server = timeout(LONG, call).await.expect("an answer")?.into_inner();
        Ok(Self { to_server, from_server, overrides: Vec::new() })
    }

    /// A session that is welcome.
    pub(super) async fn open(server: SocketAddr, edge: &str) -> Self {
        let mut session = Self::begin(server, hello(edge)).await.unwrap();
        let first = session.receive().await.expect("a message");
        assert!(matches!(first, server_message::Body::Welcome(_)), "{first:?}");
        session.overrides = session.next_overrides().await;
        session
    }

    pub(super) async fn send(&self, message: EdgeMessage) {
        // A session that the server has ended takes nothing more.
        _ = self.to_server.send(message).await;
    }

    /// The next message; `None` where the session is over.
    pub(super) async fn receive(&mut self) -> Option<server_message::Body> {
        let next = timeout(LONG, self.from_server.message()).await.expect("a message or the end");
        next.ok()?.and_then(|message| message.body)
    }

    pub(super) async fn desired(&mut self) -> proto::DesiredState {
        loop {
            if let server_message::Body::Desired(desired) = self.receive().await.expect("a desired state") {
                return desired;
            }
        }
    }

    /// The next whole list of overrides.
    pub(super) async fn next_overrides(&mut self) -> Vec<proto::TargetOverride> {
        loop {
            if let server_message::Body::Overrides(list) = self.receive().await.expect("overrides") {
                return list.overrides;
            }
        }
    }

    /// The next question for a round of probes.
    pub(super) async fn check(&mut self) -> proto::CheckTargets {
        loop {
            if let server_message::Body::Check(check) = self.receive().await.expect("a check") {
                return check;
            }
        }
    }

    /// Reports that everything of the state runs.
    pub(super) async fn accept(&self, desired: &proto::DesiredState) {
        self.accept_with(desired, None, &[]).await;
    }

    /// Reports that everything of the state runs, with this health and these targets of every rule.
    pub(super) async fn accept_with(
        &self,
        desired: &proto::DesiredState,
        health: Option<&str>,
        targets: &[proto::TargetReport],
    ) {
        let rules = desired.rules.iter().map(|rule| proto::RuleReport {
            rule: rule.name.clone(),
            state: proto::RuleState::Active.into(),
            running: Some(rule.clone()),
            health: health.unwrap_or_default().to_owned(),
            targets: targets.to_vec(),
            ..proto::RuleReport::default()
        });
        let report = proto::Report {
            lineage: desired.lineage.clone(),
            generation: desired.generation,
            desired_digest: desired.digest.clone(),
            running_digest: desired.digest.clone(),
            rules: rules.collect(),
            refused: None,
            answers: desired.generation,
            ..proto::Report::default()
        };
        self.send(message(edge_message::Body::Report(report))).await;
    }
}
