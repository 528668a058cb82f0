//! The edge's end of TLS: each name joins each server once, and shows that certificate from then on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use reconciler::act::trust::authority::{EdgeSubject, read_request};
use reconciler::act::trust::registrar::TrustHandle;
use reconciler::decide::enrolment::JoinAttempt;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schema::canonical::Digest;
use schema::join::SERVER_NAME;
use schema::name::EdgeName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// A certificate with its key.
type Shown = (CertificateDer<'static>, Vec<u8>);

static SERVERS: LazyLock<Mutex<HashMap<SocketAddr, TrustHandle>>> = LazyLock::new(Mutex::default);
static SHOWN: LazyLock<Mutex<HashMap<(SocketAddr, String), Shown>>> = LazyLock::new(Mutex::default);

/// From now on this address leads to the control port of this server.
pub(super) fn serves(address: SocketAddr, trust: TrustHandle) {
    SHOWN.lock().unwrap().retain(|(server, _), _| *server != address);
    SERVERS.lock().unwrap().insert(address, trust);
}

/// The same server by another address.
pub(super) fn leads_to(address: SocketAddr, server: SocketAddr) {
    let trust = SERVERS.lock().unwrap()[&server].clone();
    serves(address, trust);
}

/// The certificate of an edge that has joined; a name that is none shows that of another edge.
pub(super) async fn joined(server: SocketAddr, edge: &str) -> Shown {
    let name = EdgeName::new(edge).unwrap_or_else(|_| EdgeName::new("nameless").unwrap());
    let key = (server, name.to_string());
    if let Some(shown) = SHOWN.lock().unwrap().get(&key) {
        return shown.clone();
    }
    let trust = SERVERS.lock().unwrap()[&server].clone();
    let pair = KeyPair::generate().unwrap();
    let request = read_request(CertificateParams::default().serialize_request(&pair).unwrap().der()).unwrap();
    let invitation = trust.invite(name.clone(), server.to_string(), Duration::from_mins(1)).await.unwrap();
    let attempt = JoinAttempt {
        code: invitation.uri.code.digest(),
        key: Digest::of(&pair.serialize_der()),
        authority: trust.authorities.borrow().current.pin,
        expires_at: Timestamp::now() + Duration::from_hours(1),
    };
    let epoch = trust.join(name.clone(), attempt).await.unwrap().unwrap();
    let now = Timestamp::now().as_second().cast_unsigned();
    let member = EdgeSubject { name: &name, epoch, now, ttl: 3600 };
    let certificate = trust.authorities.borrow().current.issue_edge(&request, &member).unwrap();
    let shown = (certificate, pair.serialize_der());
    SHOWN.lock().unwrap().insert(key, shown.clone());
    shown
}

/// A code with which an edge of that name can join.
pub(super) async fn invite(server: SocketAddr, name: &EdgeName) -> String {
    let trust = SERVERS.lock().unwrap()[&server].clone();
    let invitation = trust.invite(name.clone(), server.to_string(), Duration::from_mins(1)).await.unwrap();
    invitation.uri.code.expose().to_owned()
}

/// From now on an edge of that name shows this certificate.
pub(super) fn shows(server: SocketAddr, edge: &str, shown: Shown) {
    SHOWN.lock().unwrap().insert((server, edge.to_owned()), shown);
}

/// A connection with this certificate, or with none.
pub(super) async fn connect(server: SocketAddr, shown: Option<Shown>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let bundle = SERVERS.lock().unwrap()[&server].authorities.borrow().bundle();
    roots.add_parsable_certificates(bundle);
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match shown {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER_NAME).unwrap(), stream).await
}

/// A channel of an edge.
pub(super) async fn channel(server: SocketAddr, edge: &str) -> Channel {
    let shown = joined(server, edge).await;
    channel_with(server, Some(shown)).await.unwrap()
}

/// A channel with this certificate, or with none.
pub(super) async fn channel_with(server: SocketAddr, shown: Option<Shown>) -> Result<Channel, tonic::transport::Error> {
    let service = tower::service_fn(move |_| {
        let shown = shown.clone();
        async move { connect(server, shown).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://control.portunus.internal").connect_with_connector(service).await
}
