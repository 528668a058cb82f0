//! Peers that are silent, speak something else or stop half way, and those that do neither.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::server::Connected;

use super::*;
use crate::listener::GuardedListener;

/// Far above anything that a test waits for.
const LONG: Duration = Duration::from_secs(20);

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn roots(of: &CertifiedKey<KeyPair>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(of.cert.der().clone()).expect("a root");
    roots
}

/// A port with TLS, whose clients may show the certificate of the second pair.
struct Scene {
    address: SocketAddr,
    listener: GuardedListener,
    refused: Arc<Refused>,
    server: CertifiedKey<KeyPair>,
    client: CertifiedKey<KeyPair>,
}

impl Scene {
    async fn new(cap: usize, opening: Duration) -> Self {
        let pair = |name: &str| generate_simple_self_signed(vec![name.to_owned()]).expect("a pair");
        let (server, client) = (pair("localhost"), pair("client"));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(&client).into(), provider.clone());
        let verifier = verifier.allow_unauthenticated().build().expect("a verifier");
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_client_cert_verifier(verifier);
        let chain = vec![server.cert.der().clone()];
        let config = builder.with_single_cert(chain, key_of(&server.signing_key)).expect("a certificate");
        let refused = Arc::new(Refused::default());
        let tls = Tls { config: Arc::new(config), port: Port::Control, refused: Arc::clone(&refused) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let limits = Limits { cap, opening, idle: LONG, head: LONG };
        let listener = GuardedListener::http2(listener, limits, cap).over_tls(tls);
        Self { address, listener, refused, server, client }
    }

    fn connect(&self, is_known: bool) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + 'static {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_root_certificates(roots(&self.server));
        let chain = vec![self.client.cert.der().clone()];
        let config = if is_known {
            builder.with_client_auth_cert(chain, key_of(&self.client.signing_key)).expect("a pair")
        } else {
            builder.with_no_client_auth()
        };
        let address = self.address;
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").expect("a name");
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        }
    }

    /// What the peer of this receives until the port closes it, while the port is served.
    async fn answer_to(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        tokio::select! {
            // An end or a reset.
            read = timeout(LONG, stream.read_to_end(&mut answer)) => drop(read.expect("the connection ends")),
            _ = self.listener.accept() => panic!("nobody completed a handshake"),
        }
        answer
    }
}

#[tokio::test]
async fn whoever_is_silent_or_stops_half_way_is_closed_in_time() {
    let mut scene = Scene::new(4, Duration::from_millis(200)).await;
    for bytes in [&b""[..], &[22], &[22, 3, 1, 0, 200, 1, 0, 0, 196]] {
        assert_eq!(scene.answer_to(bytes).await, b"");
    }
    assert_eq!(scene.refused.counts(), [("not_tls", 0), ("handshake", 0), ("timeout", 3), ("crowded", 0)]);
}

#[tokio::test]
async fn what_is_not_tls_ends_with_its_first_byte_and_http_learns_which_port_it_is() {
    let mut scene = Scene::new(4, LONG).await;
    assert_eq!(scene.answer_to(b"\x16garbage that is long enough to be a record").await.first(), Some(&21), "an alert");
    assert_eq!(scene.answer_to(b"\0\x01\x02").await, b"");
    let answer = String::from_utf8(scene.answer_to(b"GET /healthz HTTP/1.1\r\n\r\n").await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Server: portunus-control\r\n"), "{answer}");
    assert_eq!(scene.refused.counts(), [("not_tls", 2), ("handshake", 1), ("timeout", 0), ("crowded", 0)]);
}

#[tokio::test]
async fn a_peer_with_a_certificate_is_served_with_it_and_one_without_is_served() {
    let mut scene = Scene::new(4, LONG).await;
    for is_known in [true, false] {
        let client = tokio::spawn(scene.connect(is_known));
        let guarded = timeout(LONG, scene.listener.accept()).await.expect("accepted");
        let shown = guarded.connect_info().certificate;
        assert_eq!(shown.as_ref(), is_known.then_some(scene.client.cert.der()));
        client.await.expect("no panic").expect("the handshake is complete");
    }
    assert_eq!(scene.refused.counts().iter().map(|(_, count)| count).sum::<u64>(), 0);
}

#[tokio::test]
async fn strangers_by_the_hundred_take_no_more_than_their_places_and_a_real_peer_comes_through() {
    let mut scene = Scene::new(16, LONG).await;
    let (address, real) = (scene.address, scene.connect(true));
    let peers = tokio::spawn(async move {
        let mut strangers = Vec::new();
        for number in 0..300 {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let bytes = [&b""[..], b"\x16\x03\x01", b"\0"][number % 3];
            stream.write_all(bytes).await.expect("sent");
            strangers.push(stream);
        }
        (real.await.expect("the handshake is complete"), strangers)
    });
    let guarded = timeout(LONG, scene.listener.accept()).await.expect("accepted");
    assert!(guarded.connect_info().certificate.is_some());
    let _peers = peers.await.expect("no panic");
    // All but those that have a place now.
    let ended: u64 = scene.refused.counts().iter().map(|(_, count)| count).sum();
    assert!(ended >= 300 - 16, "{:?}", scene.refused.counts());
}
