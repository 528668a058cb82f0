//! A name server that answers as a test says, over UDP and TCP on loopback, and files that name it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use edge::act::names::ResolverFiles;
use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// What a name gets.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Those of its addresses that are of the family that was asked for, and their TTL.
    Addresses(Vec<IpAddr>, u32),
    /// The same behind an alias with a TTL of its own.
    Alias(Vec<IpAddr>, u32, u32),
    /// The same over TCP only; UDP says that it was cut.
    Cut(Vec<IpAddr>, u32),
    /// The same, but nothing to questions for IPv6.
    DeafToIpv6(Vec<IpAddr>, u32),
    Error(ResponseCode),
    Silence,
}

/// A running server. Names that it was told nothing about do not exist.
pub(crate) struct Dns {
    zone: Arc<Zone>,
    folder: tempfile::TempDir,
    port: u16,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Zone {
    replies: Mutex<HashMap<String, Reply>>,
    asked: Mutex<HashMap<(String, RecordType), usize>>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let port = udp.local_addr().unwrap().port();
        let zone = Arc::new(Zone::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(udp, zone.clone()));
        serving.spawn(serve_tcp(tcp, zone.clone()));
        let dns = Self { zone, folder: tempfile::tempdir().unwrap(), port, _serving: serving };
        dns.write("hosts", "");
        dns.write("resolv.conf", "nameserver 127.0.0.1\nsearch one.test two.test\noptions timeout:1 attempts:1\n");
        dns
    }

    /// Writes `hosts` or `resolv.conf`.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Files that name this server.
    pub(crate) fn source(&self) -> ResolverFiles {
        ResolverFiles { resolv_conf: self.path("resolv.conf"), hosts: self.path("hosts"), port: self.port }
    }

    /// What a name gets from now on.
    pub(crate) fn say(&self, name: &str, reply: Reply) {
        self.zone.replies.lock().unwrap().insert(format!("{name}."), reply);
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> usize {
        self.zone.asked.lock().unwrap().get(&(format!("{name}."), kind)).copied().unwrap_or(0)
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        if let Some(answer) = zone.answer(&buffer[..length], false) {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let zone = zone.clone();
        connections.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(answer) = zone.answer(&query, true) {
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
    }
}

impl Zone {
    fn answer(&self, query: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let (name, kind) = (question.name().to_ascii().to_lowercase(), question.query_type());
        *self.asked.lock().unwrap().entry((name.clone(), kind)).or_default() += 1;
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&query.metadata);
        answer.add_query(question.clone());
        let reply = self.replies.lock().unwrap().get(&name).cloned();
        let (owner, addresses, ttl) = match reply.unwrap_or(Reply::Error(ResponseCode::NXDomain)) {
            Reply::Silence => return None,
            Reply::DeafToIpv6(..) if kind == RecordType::AAAA => return None,
            Reply::Error(code) => {
                answer.metadata.response_code = code;
                (question.name().clone(), Vec::new(), 0)
            }
            Reply::Cut(..) if !is_tcp => {
                answer.metadata.truncation = true;
                (question.name().clone(), Vec::new(), 0)
            }
            Reply::Alias(addresses, alias_ttl, ttl) => {
                let other = Name::from_ascii("other.test.").unwrap();
                let alias = RData::CNAME(CNAME(other.clone()));
                answer.add_answer(Record::from_rdata(question.name().clone(), alias_ttl, alias));
                (other, addresses, ttl)
            }
            Reply::Addresses(addresses, ttl) | Reply::Cut(addresses, ttl) | Reply::DeafToIpv6(addresses, ttl) => {
                (question.name().clone(), addresses, ttl)
            }
        };
        let of_family = addresses.into_iter().filter(|ip| ip.is_ipv6() == (kind == RecordType::AAAA));
        answer.add_answers(of_family.map(|ip| Record::from_rdata(owner.clone(), ttl, RData::from(ip))));
        Some(answer.to_vec().unwrap())
    }
}
