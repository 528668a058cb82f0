//! The PROXY header: who connects is told before anything else, on every path, and counts as nobody's bytes.

use std::net::SocketAddr;
use std::time::Duration;

use schema::rule::{ProxyProtocol, RuleParts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::daemons::Daemon;
use crate::support::{BlackHole, LONG, apply, connect, free_ports, runtime, skipped, target, to, to_all, wait_until};

pub(crate) fn with(version: ProxyProtocol) -> impl Fn(&mut RuleParts) {
    move |parts| parts.targets.iter_mut().for_each(|target| target.proxy_protocol = Some(version))
}

/// The header of version 1 that this client's connection is told by.
pub(crate) fn text_of(client: &TcpStream) -> Vec<u8> {
    let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let family = if from.is_ipv4() { 4 } else { 6 };
    format!("PROXY TCP{family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
}

/// The same in version 2.
pub(crate) fn binary_of(client: &TcpStream) -> Vec<u8> {
    let ends = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.extend(if ends[0].is_ipv4() { [0x11, 0, 12] } else { [0x21, 0, 36] });
    for end in &ends {
        match end {
            SocketAddr::V4(end) => header.extend(end.ip().octets()),
            SocketAddr::V6(end) => header.extend(end.ip().octets()),
        }
    }
    for end in &ends {
        header.extend(end.port().to_be_bytes());
    }
    header
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    timeout(LONG, stream.read_exact(&mut read)).await.expect("it comes").unwrap();
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn a_target_that_speaks_first_gets_the_header_at_once() {
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(2);
    let rules =
        [to("v1", port, address, with(ProxyProtocol::V1)), to("v2", port + 1, address, with(ProxyProtocol::V2))];
    apply(&edge, 1, &rules).await;
    let addresses: [SocketAddr; 4] = [
        ([127, 0, 0, 1], port).into(),
        (std::net::Ipv6Addr::LOCALHOST, port).into(),
        ([127, 0, 0, 1], port + 1).into(),
        (std::net::Ipv6Addr::LOCALHOST, port + 1).into(),
    ];
    for at in addresses {
        let Ok(mut client) = TcpStream::connect(at).await else {
            skipped(&format!("{at} is not on this host"));
            continue;
        };
        let (mut server, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        expect(&mut server, &if at.port() == port { text_of(&client) } else { binary_of(&client) }).await;
        server.write_all(b"welcome").await.unwrap();
        expect(&mut client, b"welcome").await;
        client.write_all(b"thanks").await.unwrap();
        expect(&mut server, b"thanks").await;
    }
}

#[tokio::test]
async fn the_header_leaves_with_the_first_bytes_and_is_not_counted() {
    let edge = runtime().await;
    // While the first target is given its time, the client's bytes come.
    let hole = BlackHole::at(([127, 0, 0, 1], 0).into());
    let (listener, address) = target().await;
    let port = free_ports(1);
    let quick = |parts: &mut RuleParts| {
        parts.connect_timeout = Duration::from_millis(500);
        with(ProxyProtocol::V2)(parts);
    };
    let status = apply(&edge, 1, &[to_all("web", port, &[hole.address, address], quick)]).await;
    let mut client = connect(port).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
    let mut buffer = [0; 1024];
    let length = timeout(LONG, server.read(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer[..length], [&binary_of(&client)[..], b"question"].concat());
    assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
    drop(server);
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.active() == 0).await;
    assert_eq!(meter.figures().bytes_in, 8);
}

#[tokio::test]
async fn bulk_follows_the_header_whole() {
    const LENGTH: usize = 4 << 20;
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(1);
    let status = apply(&edge, 1, &[to("web", port, address, with(ProxyProtocol::V1))]).await;
    let mut client = connect(port).await;
    let header = text_of(&client);
    let sent: Vec<u8> = (0..LENGTH).map(|index| (index / 7) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let (mut server, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
    let mut read = Vec::new();
    timeout(LONG, server.read_to_end(&mut read)).await.unwrap().unwrap();
    assert!(read[..header.len()] == header && read[header.len()..] == expected);
    drop((server, sending.await.unwrap()));
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.active() == 0).await;
    assert_eq!(meter.figures().bytes_in, LENGTH as u64);
}

/// Who the daemon says has connected, by both versions and both families.
async fn is_told_who_connects(daemon_port: u16) {
    let edge = runtime().await;
    let daemon = ([127, 0, 0, 1], daemon_port).into();
    let port = free_ports(2);
    let rules = [to("v1", port, daemon, with(ProxyProtocol::V1)), to("v2", port + 1, daemon, with(ProxyProtocol::V2))];
    apply(&edge, 1, &rules).await;
    for port in [port, port + 1] {
        for ip in [std::net::IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()] {
            let Ok(mut client) = TcpStream::connect((ip, port)).await else {
                skipped(&format!("{ip} is not on this host"));
                continue;
            };
            let from = client.local_addr().unwrap();
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            timeout(LONG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
            let body = answer.split("\r\n\r\n").nth(1).expect("an answer with a body");
            assert_eq!(body.trim(), format!("{} {} to {port}", from.ip(), from.port()));
        }
    }
}

#[tokio::test]
async fn haproxy_is_told_who_connects() {
    let port = free_ports(1);
    let config = format!(
        "defaults\n mode http\n timeout client 9s\n timeout connect 9s\n timeout server 9s\n\
         frontend f\n bind 127.0.0.1:{port} accept-proxy\n\
         \x20http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port] to %[dst_port]\"\n"
    );
    if let Some(_daemon) = Daemon::start("haproxy", &config, &["-db", "-f"], port).await {
        is_told_who_connects(port).await;
    }
}

#[tokio::test]
async fn nginx_is_told_who_connects() {
    let port = free_ports(1);
    let config = format!(
        "daemon off; master_process off; pid @/pid; error_log @/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path @/a; proxy_temp_path @/b; fastcgi_temp_path @/c;\n\
         uwsgi_temp_path @/d; scgi_temp_path @/e; server {{ listen 127.0.0.1:{port} proxy_protocol;\n\
         location / {{ default_type text/plain;\n\
         return 200 '$proxy_protocol_addr $proxy_protocol_port to $proxy_protocol_server_port'; }} }} }}\n"
    );
    if let Some(_daemon) = Daemon::start("nginx", &config, &["-c"], port).await {
        is_told_who_connects(port).await;
    }
}
