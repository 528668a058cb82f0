//! Sessions of edges that do what they are told at once: the protocol is real, the sockets are not there. I/O.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::act::joining::channel_of_member;
use schema::counters::Figures;
use schema::join::JoinUri;
use schema::name::EdgeName;
use schema::proto::{self, edge_message, server_message};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Sessions that are opened at the same time.
const AT_ONCE: usize = 64;
/// How long the server may take for anything here.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where a server listens, and what its operators show.
#[derive(Clone)]
pub(crate) struct Places {
    /// Where edges keep their certificates.
    pub(crate) members: PathBuf,
    /// `HOST:PORT` of the control port.
    pub(crate) control: String,
    /// The URL of the operator port.
    pub(crate) operator: String,
    pub(crate) token: String,
}

impl Places {
    /// `HOST:PORT` of the operator port.
    pub(crate) fn operator_address(&self) -> &str {
        self.operator.trim_start_matches("http://")
    }
}

/// What was seen of one edge.
enum Sight {
    /// It took a desired state.
    Took {
        /// Of the target of its rule.
        port: u16,
        generation: u64,
    },
    /// The server told its listeners that the edge runs it.
    Acknowledged { generation: u64 },
}

/// A sight of an edge, by its index.
struct Seeing(usize, Sight, Instant);

/// When a change was everywhere.
pub(crate) struct Seen {
    pub(crate) last_sent: Instant,
    pub(crate) last_acknowledged: Instant,
}

/// What is known of one edge.
#[derive(Clone, Copy, Default)]
struct Edge {
    port: u16,
    generation: u64,
    acknowledged: u64,
}

/// All sessions, and one listener to the events of the server.
pub(crate) struct Sessions {
    places: Arc<Places>,
    seen: mpsc::UnboundedReceiver<Seeing>,
    tell: mpsc::UnboundedSender<Seeing>,
    edges: Vec<Edge>,
    tasks: JoinSet<()>,
}

impl Sessions {
    pub(crate) async fn open(places: Places, names: &[String]) -> Self {
        let (tell, seen) = mpsc::unbounded_channel();
        let places = Arc::new(places);
        let mut sessions =
            Self { places: places.clone(), seen, tell: tell.clone(), edges: Vec::new(), tasks: JoinSet::new() };
        sessions.tasks.spawn(listen(places, tell));
        sessions.more(names).await;
        sessions
    }

    /// Opens a session for each of these edges.
    pub(crate) async fn more(&mut self, names: &[String]) {
        self.opened(names, AT_ONCE).await;
    }

    /// The same without waiting for one before the next.
    pub(crate) async fn all_at_once(&mut self, names: &[String]) {
        self.opened(names, names.len()).await;
    }

    /// Ends all sessions.
    pub(crate) fn end(self) -> Places {
        let Self { places, tasks, .. } = self;
        drop(tasks);
        Places::clone(&places)
    }

    async fn opened(&mut self, names: &[String], at_once: usize) {
        let (open, mut opened) = mpsc::channel(at_once.max(1));
        let mut waiting = 0;
        for name in names {
            if waiting == at_once {
                opened.recv().await;
                waiting -= 1;
            }
            let (edge, places, name) = (self.edges.len(), self.places.clone(), name.clone());
            let (tell, open) = (self.tell.clone(), open.clone());
            self.edges.push(Edge::default());
            self.tasks.spawn(async move { session(edge, places, name, tell, open).await });
            waiting += 1;
        }
        for _ in 0..waiting {
            opened.recv().await;
        }
    }

    /// Where the server listens.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Takes the next sight in.
    async fn next(&mut self) -> Seeing {
        let seeing = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
        let seeing = seeing.expect("the server answers").expect("a sender is kept");
        // The snapshot shows edges that have no session yet.
        if let Some(edge) = self.edges.get_mut(seeing.0) {
            match seeing.1 {
                Sight::Took { port, generation } => (edge.port, edge.generation) = (port, generation),
                Sight::Acknowledged { generation } => edge.acknowledged = generation,
            }
        }
        seeing
    }

    /// Waits until one edge has a rule whose target has this port.
    pub(crate) async fn one_gets(&mut self, edge: usize, port: u16) -> Instant {
        loop {
            let Seeing(of, sight, at) = self.next().await;
            if of == edge && matches!(sight, Sight::Took { port: has, .. } if has == port) {
                return at;
            }
        }
    }

    /// Waits until every edge has a rule whose target has this port, and the server knows it.
    pub(crate) async fn all_run(&mut self, port: u16) -> Seen {
        let mut last_sent = Instant::now();
        while self.edges.iter().any(|edge| edge.port != port) {
            if let Seeing(_, Sight::Took { .. }, at) = self.next().await {
                last_sent = at;
            }
        }
        Seen { last_sent, last_acknowledged: self.is_settled().await }
    }

    /// Waits until the server has said of everybody that it runs what it took, and when it said the last of that.
    pub(crate) async fn is_settled(&mut self) -> Instant {
        let mut last = Instant::now();
        while self.edges.iter().any(|edge| edge.acknowledged < edge.generation) {
            last = self.next().await.2;
        }
        last
    }
}

/// Listens to what the server says of its edges, as a dashboard does.
async fn listen(places: Arc<Places>, tell: mpsc::UnboundedSender<Seeing>) {
    let url = format!("{}/v1/events?edges=true", places.operator);
    let request = reqwest::Client::new().get(url).bearer_auth(&places.token);
    let mut stream = request.send().await.and_then(reqwest::Response::error_for_status).expect("events");
    let mut unread = Vec::new();
    // A server that ends is what is measured last.
    while let Ok(Some(bytes)) = stream.chunk().await {
        unread.extend_from_slice(&bytes);
        let whole = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let at = Instant::now();
        for line in unread[..whole].split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let data: serde_json::Value = serde_json::from_slice(data).expect("events are JSON");
            // One edge, or a snapshot of all.
            let one = [(&data["edge"], &data["generation"])];
            let all = data["edges"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (name, generation) in all.iter().map(|edge| (&edge["name"], &edge["generation"])).chain(one) {
                let number = name.as_str().and_then(|name| name.rsplit('-').next()?.parse().ok());
                let (Some(edge), Some(generation)) = (number, generation.as_u64()) else { continue };
                _ = tell.send(Seeing(edge, Sight::Acknowledged { generation }, at));
            }
        }
        unread.drain(..whole);
    }
}

fn message(body: edge_message::Body) -> proto::EdgeMessage {
    proto::EdgeMessage { body: Some(body) }
}

/// A connection of an edge that has joined: over TLS, by its certificate.
async fn member(places: &Places, name: &str) -> Option<Channel> {
    let dir = places.members.join(name);
    let edge = EdgeName::new(name).expect("a name");
    let invitation = if dir.join("membership").exists() { None } else { Some(invite(places, name).await) };
    std::fs::create_dir_all(&dir).expect("a folder");
    channel_of_member(edge, dir, invitation).await.ok()
}

async fn invite(places: &Places, name: &str) -> JoinUri {
    let url = format!("{}/v1/edge-tokens", places.operator);
    let body = serde_json::json!({ "name": name, "ttl_secs": 3600 });
    let request = reqwest::Client::new().post(url).bearer_auth(&places.token).json(&body);
    let answer = request.send().await.and_then(reqwest::Response::error_for_status).expect("an invitation");
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    answer["uri"].as_str().expect("a URI").parse().expect("a URI")
}

/// One session, until the server ends it.
async fn session(
    edge: usize,
    places: Arc<Places>,
    name: String,
    tell: mpsc::UnboundedSender<Seeing>,
    opened: mpsc::Sender<()>,
) {
    // As an edge does: a full port refuses, and the next attempt comes later.
    let mut wait = Duration::from_millis(200);
    let (outgoing, mut incoming) = loop {
        match opened_session(&places, &name).await {
            Some(session) => break session,
            None => tokio::time::sleep(wait + Duration::from_millis(edge as u64 % 200)).await,
        }
        wait = (wait * 2).min(Duration::from_secs(5));
    };
    while let Ok(Some(received)) = incoming.message().await {
        match received.body {
            Some(server_message::Body::Welcome(_)) => _ = opened.send(()).await,
            Some(server_message::Body::Desired(desired)) => {
                let at = Instant::now();
                let target = desired.rules.first().and_then(|rule| rule.targets.first());
                let port = target.map_or(0, |target| target.first_port) as u16;
                let took = Sight::Took { port, generation: desired.generation };
                // Told before the answer goes out: its acknowledgement comes after it.
                _ = tell.send(Seeing(edge, took, at));
                let report = done(desired);
                if outgoing.send(message(edge_message::Body::Report(report))).await.is_err() {
                    return;
                }
            }
            Some(server_message::Body::StatsRequest(asked)) => {
                let report = counted(asked);
                if outgoing.send(message(edge_message::Body::Stats(report))).await.is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// A session of an edge that has said its hello; `None` where the server refuses it for now.
async fn opened_session(
    places: &Places,
    name: &str,
) -> Option<(mpsc::Sender<proto::EdgeMessage>, tonic::Streaming<proto::ServerMessage>)> {
    let channel = member(places, name).await?;
    let (outgoing, receiver) = mpsc::channel(4);
    let hello = proto::Hello {
        edge: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: ["tcp", "udp", "port_range", "ipv6"].map(str::to_owned).to_vec(),
        limits: Some(proto::Limits { ports_per_range: 0, file_descriptors: 10_000, rules: 0 }),
        own_listeners: Vec::new(),
        report: Some(proto::Report::default()),
        ..proto::Hello::default()
    };
    outgoing.send(message(edge_message::Body::Hello(hello))).await.expect("the receiver is there");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.ok()?;
    let path = http::uri::PathAndQuery::from_static("/portunus.v1.EdgeControl/Session");
    let codec: tonic_prost::ProstCodec<proto::EdgeMessage, proto::ServerMessage> = tonic_prost::ProstCodec::default();
    let request = tonic::Request::new(ReceiverStream::new(receiver));
    let incoming = client.streaming(request, path, codec).await.ok()?.into_inner();
    Some((outgoing, incoming))
}

/// What an edge says of the counters of a rule.
fn counted(asked: proto::StatsRequest) -> proto::StatsReport {
    let figures = Figures { bytes_in: 1 << 30, bytes_out: 1 << 34, connections_total: 1 << 20, ..Figures::default() };
    let target = proto::TargetStats {
        host: "10.0.0.1".to_owned(),
        port: 1000,
        counters: Some(figures.to_wire()),
        report: Some(up("10.0.0.1:1000")),
        ..proto::TargetStats::default()
    };
    let rule = proto::RuleStats {
        rule: asked.rule,
        total: Some(figures.to_wire()),
        targets: vec![target],
        ..proto::RuleStats::default()
    };
    proto::StatsReport { request_id: asked.request_id, rules: vec![rule], ..proto::StatsReport::default() }
}

fn up(target: &str) -> proto::TargetReport {
    proto::TargetReport {
        target: target.to_owned(),
        state: "up".to_owned(),
        weight: 100,
        effective_weight: 100,
        since_ms: 1_700_000_000_000,
        ..proto::TargetReport::default()
    }
}

/// What an edge says that serves all that it was told.
fn done(desired: proto::DesiredState) -> proto::Report {
    let rules = desired.rules.into_iter().map(|rule| proto::RuleReport {
        rule: rule.name.clone(),
        state: proto::RuleState::Active.into(),
        health: "up".to_owned(),
        targets: rule.targets.iter().map(|target| up(&format!("{}:{}", target.host, target.first_port))).collect(),
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
