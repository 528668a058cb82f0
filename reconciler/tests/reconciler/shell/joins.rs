//! A fleet that comes at once: five hundred edges join and open their sessions, sixty-four at the same time.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use reconciler::act::guarded::Guards;
use rustls::pki_types::CertificateDer;
use schema::name::EdgeName;
use schema::proto::{Enrolled, JoinRequest};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

use super::session::Session;
use super::{LONG, Running, tls};

const EDGES: usize = 500;
/// Two connections each, of the 256 strangers that a server has room for. Edges that find none wait a random while and dial
/// again; these wait for each other.
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_edges_join_and_a_code_is_good_for_one_of_two() {
    let server = Running::start_with(tempfile::tempdir().expect("a folder"), Guards::within(1 << 20)).await;
    // To know the server's authority.
    drop(server.session("known").await);
    let mut codes = Vec::new();
    for number in 0..EDGES {
        let name = EdgeName::new(&format!("edge-{number:03}")).expect("a name");
        codes.push((name.clone(), tls::invite(server.control, &name).await));
    }
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut joining = JoinSet::new();
    for (name, code) in codes {
        let (control, turns) = (server.control, Arc::clone(&turns));
        joining.spawn(async move {
            let _turn = turns.acquire_owned().await.expect("never closed");
            // Two of one name at the same time: the code is good for one of them.
            let twins = [join(control, &name, &code), join(control, &name, &code)];
            let [one, other] = futures_util::future::join_all(twins).await.try_into().expect("two");
            assert!(one.is_some() != other.is_some(), "{name}: {} {}", one.is_some(), other.is_some());
            tls::shows(control, name.as_str(), one.or(other).expect("one of them"));
            Session::open(control, name.as_str()).await
        });
    }
    let sessions = timeout(3 * LONG, joining.join_all()).await.expect("all of them");
    let edges: Value = server.api().get("/v1/edges").await.json();
    let connected = edges.as_array().expect("a list").iter().filter(|edge| edge["connected"] == true).count();
    assert_eq!(connected, EDGES);
    drop(sessions);
    server.stop().await;
}

async fn join(server: SocketAddr, name: &EdgeName, code: &str) -> Option<(CertificateDer<'static>, Vec<u8>)> {
    let pair = KeyPair::generate().expect("a key");
    let signing_request = CertificateParams::default().serialize_request(&pair).expect("a request").der().to_vec();
    let mut grpc = Grpc::new(tls::channel_with(server, None).await.expect("a connection"));
    grpc.ready().await.expect("ready");
    let request = JoinRequest { edge: name.to_string(), code: code.to_owned(), signing_request };
    let codec = tonic_prost::ProstCodec::<JoinRequest, Enrolled>::default();
    let path = PathAndQuery::from_static("/portunus.v1.Enrolment/Join");
    match grpc.unary(Request::new(request), path, codec).await {
        Ok(enrolled) => Some((CertificateDer::from(enrolled.into_inner().certificate), pair.serialize_der())),
        Err(status) if status.code() == Code::PermissionDenied => None,
        Err(status) => panic!("{status}"),
    }
}
