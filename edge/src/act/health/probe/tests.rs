//! Every kind of probe against targets that are well, sick or hostile, on loopback.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use schema::net::PortRange;
use schema::testing::rule;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::act::names::ResolverFiles;

/// Long enough for loopback on a busy host, short enough to wait for.
const TIMEOUT_MS: u32 = 1500;

/// What a target does with a connection.
#[derive(Clone, Copy)]
enum Target {
    Says(&'static [u8]),
    Garbage,
    Resets,
    Closes,
    IsSilent,
    /// A header line every now and then, without an end.
    IsSlow,
    /// As fast as it can, without an end.
    EndlessHead,
    /// 1 GiB.
    LargeBody,
    /// So many header lines, in the first half of a second.
    ManyLines(usize),
    /// Says that and never ends.
    NeverEnds(&'static [u8]),
    /// Keeps what it gets, and answers nothing.
    Shows(&'static Mutex<Vec<u8>>),
}

async fn play<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, target: Target) -> io::Result<()> {
    let mut request = [0; 1024];
    match target {
        Target::Says(_)
        | Target::IsSlow
        | Target::EndlessHead
        | Target::LargeBody
        | Target::ManyLines(_)
        | Target::NeverEnds(_) => {
            _ = stream.read(&mut request).await?;
        }
        _ => {}
    }
    match target {
        Target::Says(answer) => stream.write_all(answer).await?,
        Target::Garbage => stream.write_all(&[0xff, 0x00, 0x16, b'\n'].repeat(64)).await?,
        Target::Closes | Target::Resets => return Ok(()),
        Target::IsSilent => {}
        Target::IsSlow => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                stream.write_all(b"X-Slow: 1\r\n").await?;
            }
        }
        Target::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await?;
            loop {
                stream.write_all(&[b'a'; 4096]).await?;
            }
        }
        Target::ManyLines(lines) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            stream.write_all("X-One-More: of many\r\n".repeat(lines).as_bytes()).await?;
            stream.write_all(b"Content-Length: 0\r\n\r\n").await?;
        }
        Target::NeverEnds(body) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
            stream.write_all(&[body, b"\r\n"].concat()).await?;
        }
        Target::Shows(seen) => loop {
            let count = stream.read(&mut request).await?;
            seen.lock().unwrap().extend_from_slice(&request[..count]);
            if count == 0 {
                return Ok(());
            }
        },
        Target::LargeBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'b'; 8192]).await?;
            }
        }
    }
    stream.flush().await?;
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

async fn serve(target: Target, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                if matches!(target, Target::Resets) {
                    stream.set_zero_linger().unwrap();
                }
                // A probe that closes ends it.
                _ = match tls {
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(mut stream) => play(&mut stream, target).await,
                        Err(error) => Err(error),
                    },
                    None => play::<TcpStream>(&mut stream, target).await,
                };
            });
        }
    });
    port
}

fn question(kind: HealthKind, port: u16, change: impl FnOnce(&mut HealthCheck)) -> ProbeSpec {
    let mut check = HealthCheck::new(kind, 15);
    check.timeout_ms = TIMEOUT_MS;
    change(&mut check);
    let rule = rule("web", 80, 80);
    let mut target = rule.targets[0].clone();
    target.ports = PortRange::single(port).unwrap();
    ProbeSpec::new(&check, &target, &rule)
}

fn tools() -> ProbeContext {
    ProbeContext::new(Names::start(ResolverFiles::default()), PolicyInForce::default())
}

async fn result(question: &ProbeSpec) -> (&'static str, String) {
    result_with(question, &tools()).await
}

async fn result_with(question: &ProbeSpec, tools: &ProbeContext) -> (&'static str, String) {
    let begin = Instant::now();
    let probed = ask(question, tools).await;
    assert!(begin.elapsed() < Duration::from_millis(u64::from(TIMEOUT_MS) * 4), "it ends in time");
    let Probed::Found(outcome) = probed else { panic!("a result is expected, not {probed:?}") };
    (outcome.code().as_str(), outcome.detail().to_owned())
}

/// The result at a target of this behaviour.
async fn at(target: Target, kind: HealthKind, change: impl FnOnce(&mut HealthCheck)) -> (&'static str, String) {
    result(&question(kind, serve(target, None).await, change)).await
}

#[tokio::test]
async fn a_tcp_check_connects_and_looks_at_the_answer_only_where_one_is_expected() {
    let expects = |check: &mut HealthCheck| {
        (check.send, check.expect) = ("PING\r\n".to_owned(), "+PONG".to_owned());
    };
    assert_eq!(at(Target::IsSilent, HealthKind::Tcp, |_| ()).await.0, "L4OK");
    assert_eq!(at(Target::Says(b"..+PONG\r\n"), HealthKind::Tcp, expects).await.0, "L7OK");
    let (code, detail) = at(Target::Says(b"-ERR no\r\n"), HealthKind::Tcp, |check| {
        expects(check);
        check.timeout_ms = 200;
    })
    .await;
    assert_eq!((code, detail.as_str()), ("L7TOUT", "the expected answer did not arrive in time"));
    assert_eq!(at(Target::IsSilent, HealthKind::Tcp, expects).await.0, "L7TOUT");
    assert_eq!(at(Target::Closes, HealthKind::Tcp, expects).await.0, "L7RSP");
    assert_eq!(at(Target::Resets, HealthKind::Tcp, expects).await.0, "L7RSP");
    let (code, detail) = at(Target::EndlessHead, HealthKind::Tcp, expects).await;
    assert_eq!((code, detail.starts_with("not the expected answer; it starts with: HTTP/1.1 200")), ("L7RSP", true));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_told_from_one_whose_name_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (code, detail) = result(&question(HealthKind::Http, port, |_| ())).await;
    assert_eq!((code, detail), ("L4CON", format!("127.0.0.1:{port} refused the connection: nothing listens there")));
    let mut nameless = question(HealthKind::Tcp, port, |_| ());
    nameless.host = Host::Name("does-not-exist.invalid".into());
    let probed = ask(&nameless, &tools()).await;
    let not_a_verdict = matches!(probed, Probed::Missed(Missed::Names(_)));
    let is_failure = matches!(&probed, Probed::Nameless(outcome) if outcome.code() == ResultCode::L4Con);
    // Whether this host has name servers decides which.
    assert!(is_failure || not_a_verdict, "{probed:?}");
}

#[tokio::test]
async fn an_http_check_judges_status_and_body() {
    const OK: Target = Target::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nstatus: ok\n");
    let http = HealthKind::Http;
    assert_eq!(at(OK, http, |_| ()).await, ("L7OK", "HTTP 200".to_owned()));
    assert_eq!(at(OK, http, |check| check.expect_body = "status: (ok|fine)".to_owned()).await.0, "L7OK");
    let (code, detail) = at(OK, http, |check| check.expect_body = "^fine".to_owned()).await;
    assert_eq!((code, detail.as_str()), ("L7RSP", "the body does not match `expect_body`; it starts with: status: ok"));
    let failing = Target::Says(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let (code, detail) = at(failing, http, |_| ()).await;
    assert_eq!((code, detail.as_str()), ("L7STS", "HTTP 503"));
}

#[tokio::test]
async fn hostile_http_targets_get_a_code_in_time() {
    let body = |check: &mut HealthCheck| check.expect_body = "^b+$".to_owned();
    let http = HealthKind::Http;
    assert_eq!(at(Target::Garbage, http, |_| ()).await, ("L7RSP", "the answer is not HTTP".to_owned()));
    assert_eq!(at(Target::Resets, http, |_| ()).await.0, "L7RSP");
    assert_eq!(at(Target::Closes, http, |_| ()).await.0, "L7RSP");
    assert_eq!(at(Target::IsSilent, http, |_| ()).await.0, "L7TOUT");
    assert_eq!(at(Target::IsSlow, http, |_| ()).await.0, "L7TOUT");
    let (code, detail) = at(Target::EndlessHead, http, |_| ()).await;
    assert_eq!((code, detail.as_str()), ("L7RSP", "the head of the answer is longer than 64 KiB or 1024 lines"));
    assert_eq!(at(Target::LargeBody, http, |_| ()).await.0, "L7OK");
    assert_eq!(at(Target::LargeBody, http, body).await.0, "L7OK");
}

#[tokio::test]
async fn a_head_of_many_lines_is_as_good_as_any_up_to_its_bounds() {
    let http = HealthKind::Http;
    for lines in [99, 101, 500, 1023] {
        assert_eq!(at(Target::ManyLines(lines), http, |_| ()).await, ("L7OK", "HTTP 200".to_owned()), "{lines}");
    }
    let (code, detail) = at(Target::ManyLines(1024), http, |_| ()).await;
    assert_eq!((code, detail.as_str()), ("L7RSP", "the head of the answer is longer than 64 KiB or 1024 lines"));
}

#[tokio::test]
async fn a_body_without_an_end_is_judged_by_what_has_come_of_it() {
    let expecting = |expected: &'static str| move |check: &mut HealthCheck| check.expect_body = expected.to_owned();
    let body = Target::NeverEnds(b"status: ok");
    let begin = Instant::now();
    for expected in ["ok", "status: .*", "(?i)^STATUS"] {
        assert_eq!(at(body, HealthKind::Http, expecting(expected)).await.0, "L7OK", "{expected}");
    }
    assert!(begin.elapsed() < Duration::from_millis(TIMEOUT_MS.into()), "it matched long before the timeout");
    // Whether the text ends here is known when the time is over.
    assert_eq!(at(body, HealthKind::Http, expecting("ok$")).await.0, "L7OK");
    assert_eq!(at(body, HealthKind::Http, expecting("fine")).await.0, "L7TOUT");
    assert_eq!(at(Target::LargeBody, HealthKind::Http, expecting("b$")).await.0, "L7OK", "the first 16 KiB do");
}

#[tokio::test]
async fn a_target_that_awaits_a_proxy_header_gets_one_of_the_edge_itself_before_all_else() {
    const V2: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let versions = [(ProxyProtocol::V1, &b"PROXY UNKNOWN\r\n"[..]), (ProxyProtocol::V2, &V2[..])];
    let begins = |kind| match kind {
        HealthKind::Tcp => &b"PING"[..],
        HealthKind::Http => b"GET / HTTP/1.1\r\n",
        // A record of a handshake.
        _ => b"\x16\x03\x01",
    };
    for (version, header) in versions {
        for kind in [HealthKind::Tcp, HealthKind::Tls, HealthKind::Http, HealthKind::Https] {
            let with_header = [header, begins(kind)].concat();
            let got = told(kind, version, |_| (), with_header.len()).await;
            assert!(got.starts_with(&with_header), "{version:?} {kind:?}: {got:?}");
            // The check names an address of its own: that is not the target's, which awaits the header.
            let elsewhere = |check: &mut HealthCheck| check.address = Some([127, 0, 0, 1].into());
            let got = told(kind, version, elsewhere, begins(kind).len()).await;
            assert!(got.starts_with(begins(kind)), "{version:?} {kind:?}: {got:?}");
        }
    }
    let echo = question(HealthKind::Icmp, 1, |_| ());
    assert_eq!(demands(&echo, ProxyProtocol::V1), None);
}

/// What a target that demands a header and never answers is sent first: at least so many bytes, unless the probe ends.
async fn told(kind: HealthKind, version: ProxyProtocol, change: fn(&mut HealthCheck), bytes: usize) -> Vec<u8> {
    let seen: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
    let mut asked = question(kind, serve(Target::Shows(seen), None).await, |check| {
        (check.timeout_ms, check.send, check.expect) = (5000, "PING".to_owned(), "PONG".to_owned());
        change(check);
    });
    asked.proxy = demands(&asked, version);
    let has_come = async {
        while seen.lock().unwrap().len() < bytes {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = result(&asked) => {}
        () = has_come => {}
    }
    std::mem::take(&mut *seen.lock().unwrap())
}

/// What the same question is told by a target that demands a header.
fn demands(asked: &ProbeSpec, version: ProxyProtocol) -> Option<ProxyProtocol> {
    let rule = rule("web", 80, 80);
    let mut target = rule.targets[0].clone();
    target.proxy_protocol = Some(version);
    let with_target = ProbeSpec::new(&asked.check, &target, &rule);
    assert!(with_target.bare_connect().is_none() || with_target.proxy.is_none());
    with_target.proxy
}

/// A target's end of TLS for `web.test`, and roots that trust it.
fn certified(may_sign: bool) -> (TlsAcceptor, Vec<CertificateDer<'static>>) {
    let mut params = rcgen::CertificateParams::new(vec!["web.test".to_owned()]).unwrap();
    if may_sign {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), vec![cert.der().clone()])
}

#[tokio::test]
async fn a_tls_check_verifies_name_and_issuer_unless_told_not_to() {
    // A certificate of its own as `openssl req -x509` makes it may sign others, too.
    for may_sign in [false, true] {
        let (acceptor, roots) = certified(may_sign);
        let port = serve(Target::Says(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(acceptor)).await;
        let trusting = ProbeContext { tls: tls::Tls::with_roots(roots), ..tools() };
        let named = |check: &mut HealthCheck| check.server_name = "web.test".to_owned();
        for (kind, code) in [(HealthKind::Tls, "L6OK"), (HealthKind::Https, "L7OK")] {
            assert_eq!(result_with(&question(kind, port, named), &trusting).await.0, code);
            assert_eq!(result(&question(kind, port, |check| check.verify = false)).await.0, code);
            let (failed, detail) = result_with(&question(kind, port, |_| ()), &trusting).await;
            assert!(failed == "L6RSP" && detail.contains("certificate"), "another name: {detail}");
            let (failed, detail) = result(&question(kind, port, named)).await;
            assert!(failed == "L6RSP" && detail.contains("certificate"), "another issuer: {detail}");
        }
    }
}

#[tokio::test]
async fn hostile_tls_targets_get_a_code_in_time() {
    for kind in [HealthKind::Tls, HealthKind::Https] {
        assert_eq!(at(Target::Garbage, kind, |_| ()).await.0, "L6RSP");
        assert_eq!(at(Target::Resets, kind, |_| ()).await.0, "L6RSP");
        let (code, detail) = at(Target::Closes, kind, |_| ()).await;
        assert_eq!(code, "L6RSP", "{detail}");
        assert_eq!(at(Target::IsSilent, kind, |check| check.timeout_ms = 200).await.0, "L6TOUT");
    }
    let (acceptor, _) = certified(false);
    let port = serve(Target::IsSlow, Some(acceptor)).await;
    assert_eq!(result(&question(HealthKind::Https, port, |check| check.verify = false)).await.0, "L7TOUT");
}

#[tokio::test]
async fn an_echo_comes_back_from_this_host() {
    if !icmp::is_allowed() {
        #[expect(clippy::print_stderr, reason = "why nothing was tested")]
        {
            eprintln!("skipped: no CAP_NET_RAW and no ping sockets here");
        }
        return;
    }
    let (code, detail) = result(&question(HealthKind::Icmp, 1, |_| ())).await;
    assert_eq!((code, detail.as_str()), ("L7OK", "127.0.0.1 answered the echo request"));
}

#[test]
fn what_is_asked_is_the_first_port_unless_the_check_says_where() {
    let asked = question(HealthKind::Http, 8080, |check| {
        (check.port, check.address) = (Some(9), Some([10, 9, 8, 7].into()));
    });
    assert_eq!(
        (asked.host.to_string(), asked.port, asked.name.to_string()),
        ("10.9.8.7".to_owned(), 9, "127.0.0.1".to_owned())
    );
    let range = rule("range", 8000, 8010);
    let asked = ProbeSpec::new(&HealthCheck::new(HealthKind::Tcp, 15), &range.targets[0], &range);
    assert_eq!(asked.port, range.targets[0].ports.first());
    let echo = ProbeSpec::new(&HealthCheck::new(HealthKind::Icmp, 15), &range.targets[0], &range);
    assert_eq!(echo.port, 0, "one echo for all ports of a host");
}
