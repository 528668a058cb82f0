//! Who is not let in at the control port: refused, counted, and in the audit where an edge was named.

use schema::proto::{EdgeMessage, ServerMessage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

use super::http::Client;
use super::session::{Session, hello};
use super::{LONG, Running, tls};

/// Waits until the metrics have all of these lines.
async fn counted(server: &Running, lines: &[&str]) {
    let client = Client::new(server.metrics, None);
    let mut text = String::new();
    let all = async {
        loop {
            text = client.get("/metrics").await.body;
            if lines.iter().all(|line| text.lines().any(|found| found == *line)) {
                return;
            }
        }
    };
    let found = timeout(LONG, all).await;
    assert!(found.is_ok(), "{text}");
}

#[tokio::test]
async fn an_operators_token_and_what_is_no_tls_get_nothing_at_the_control_port() {
    let server = Running::start().await;
    // To know the server's authority.
    drop(server.session("known").await);
    let token = server.api().token.expect("a token");
    let channel = tls::channel_with(server.control, None).await.expect("a handshake without a certificate");
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("ready");
    let mut request = Request::new(tokio_stream::once(hello("known")));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    let codec = tonic_prost::ProstCodec::<EdgeMessage, ServerMessage>::default();
    let path = PathAndQuery::from_static("/portunus.v1.EdgeControl/Session");
    let refused = timeout(LONG, grpc.streaming(request, path, codec)).await.expect("an answer").expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(!refused.message().contains("known"), "a stranger learns nothing: {refused}");
    let mut plain = TcpStream::connect(server.control).await.expect("a connection");
    plain.write_all(&[7; 100]).await.expect("written");
    _ = timeout(LONG, plain.read_to_end(&mut Vec::new())).await.expect("an end");
    counted(
        &server,
        &[
            "portunus_edge_refused_total{reason=\"no_certificate\",wish=\"session\"} 1",
            "portunus_tls_refused_total{port=\"control\",reason=\"not_tls\"} 1",
        ],
    )
    .await;
    let audit: Value = server.api().get("/v1/audit").await.json();
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(0), "nobody and no edge was named: {audit}");
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_edge_and_one_that_takes_another_name_are_in_the_audit() {
    let server = Running::start().await;
    drop(server.session("edge-01").await);
    let (shown, other) = (tls::joined(server.control, "edge-01").await, tls::joined(server.control, "edge-02").await);
    tls::shows(server.control, "edge-02", shown.clone());
    let mut taken = Session::begin(server.control, hello("edge-02")).await.expect("a stream");
    assert!(format!("{:?}", taken.receive().await).contains("wrong_name"));
    tls::shows(server.control, "edge-02", other);
    assert_eq!(server.api().post("/v1/edges/edge-01/revoke", &json!({})).await.status, 200);
    let mut revoked = Session::begin(server.control, hello("edge-01")).await.expect("a stream");
    assert!(format!("{:?}", revoked.receive().await).contains("revoked"));
    counted(
        &server,
        &[
            "portunus_edge_refused_total{reason=\"wrong_name\",wish=\"session\"} 1",
            "portunus_edge_refused_total{reason=\"revoked\",wish=\"session\"} 1",
        ],
    )
    .await;
    let audit: Value = server.api().get("/v1/audit").await.json();
    let entries = audit["entries"].as_array().expect("entries").iter();
    let refused: Vec<_> = entries.filter(|entry| entry["who"] == "edge edge-01").collect();
    assert_eq!(refused.len(), 2, "{audit}");
    assert!(refused.iter().all(|entry| entry["what"] == "session edge-01" && entry["from"] == "127.0.0.1"), "{audit}");
    server.stop().await;
}
