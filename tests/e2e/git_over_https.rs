//! A git host that speaks https, and the server that follows it: certificate, password and token count.
//!
//! The host is the `git` program behind TLS: what it says is what any git host says.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::git_source::{Scene, secret};
use crate::support::wait_until;

/// `ada:s3cret` and `git:t0ken` as a client says them.
const PASSWORD: &str = "Basic YWRhOnMzY3JldA==";
const TOKEN: &str = "Basic Z2l0OnQwa2Vu";

/// A git host. Its thread ends with the test process.
struct Host {
    port: u16,
    /// PEM.
    certificate: String,
    refused: Arc<AtomicU32>,
    /// What it takes as authorization.
    accepted: Arc<Mutex<String>>,
}

impl Host {
    fn start(root: String) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let (refused, accepted) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(PASSWORD.to_owned())));
        let host = Self {
            port: listener.local_addr().unwrap().port(),
            certificate: made.cert.pem(),
            refused: refused.clone(),
            accepted: accepted.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, root, refused) = (config.clone(), root.clone(), refused.clone());
                let accepted = accepted.clone();
                thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    // A client that does not trust us goes away in the middle.
                    serve(StreamOwned::new(tls, stream), &root, &accepted, &refused).ok();
                });
            }
        });
        host
    }

    fn url(&self, user: &str) -> String {
        format!("https://{user}localhost:{}/remote.git", self.port)
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Answers the requests of one connection.
fn serve(stream: Tls, root: &str, accepted: &Mutex<String>, refused: &AtomicU32) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let of = |line: &String| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            };
            head.iter().find_map(of)
        };
        let body = match (header("content-length"), header("transfer-encoding")) {
            (Some(length), _) => {
                let mut body = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut body)?;
                body
            }
            (None, Some(_)) => chunks(&mut stream)?,
            (None, None) => Vec::new(),
        };
        if header("authorization").as_ref() != Some(&*accepted.lock().unwrap()) {
            refused.fetch_add(1, Ordering::SeqCst);
            let answer =
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\r\n";
            stream.get_mut().write_all(answer.as_bytes())?;
            continue;
        }
        let protocol = header("git-protocol").unwrap_or_default();
        let is_advertising = head[0].starts_with("GET ");
        let mut git = Command::new("git");
        git.args(["upload-pack", "--stateless-rpc"]).env("GIT_PROTOCOL", protocol);
        if is_advertising {
            git.arg("--http-backend-info-refs");
        }
        let mut child =
            git.arg(root).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&body).unwrap();
        let said = child.wait_with_output().unwrap().stdout;
        let kind = if is_advertising { "advertisement" } else { "result" };
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\n");
        let service = if is_advertising { "001e# service=git-upload-pack\n0000" } else { "" };
        write!(answer, "Content-Length: {}\r\n\r\n{service}", service.len() + said.len()).unwrap();
        stream.get_mut().write_all(answer.as_bytes())?;
        stream.get_mut().write_all(&said)?;
        stream.get_mut().flush()?;
    }
}

fn chunks(stream: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

#[test]
fn https_is_followed_with_a_password_or_a_token_and_with_no_other_certificate() {
    let scene = Scene::new();
    let world = &scene.world;
    let host = Host::start(world.arg("remote.git"));
    fs::write(world.path("roots.pem"), &host.certificate).unwrap();
    let roots = world.arg("roots.pem");
    let follow = |user: &str, more: &[&str], env: &[(&str, &str)]| {
        let url = host.url(user);
        let args = [&["--git", &url, "--path", "rules.d", "--interval", "1s"], more].concat();
        world.serve_with(&args, env)
    };
    let trusted = [("SSL_CERT_FILE", roots.as_str())];
    let error = |text: &str| {
        world.wait_status(&format!("the error `{text}`"), |status| {
            status["revision"]["remote"]["error"].as_str().is_some_and(|error| error.to_lowercase().contains(text))
        })
    };

    // A certificate that nobody vouches for: nothing is said to such a host.
    let server = follow("ada:s3cret@", &[], &[]);
    error("certificate");
    assert_eq!(host.refused.load(Ordering::SeqCst), 0);
    server.stop();
    // A password of the URL.
    let server = follow("ada:s3cret@", &[], &trusted);
    world.edge("edge-01");
    let first = world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    let second = scene.push(&scene.two);
    scene.serves(&scene.two, &second);
    let status = world.status();
    assert_eq!(status["revision"]["remote"]["url"], json!(host.url("")));
    assert!(!status.to_string().contains("s3cret") && !server.log().contains("s3cret"));
    // It is not taken any more: nothing is asked on a terminal, and nothing is removed.
    *host.accepted.lock().unwrap() = TOKEN.to_owned();
    let before = host.refused.load(Ordering::SeqCst);
    wait_until("the password to be refused", || host.refused.load(Ordering::SeqCst) > before);
    error("localhost");
    server.stop();
    // A token of a file, which is read anew for each look.
    let file = secret(world, "token", "wrong\n");
    follow("", &["--git-token-file", &file], &trusted);
    error("localhost");
    secret(world, "token", "t0ken\n");
    let third = scene.push(&scene.one);
    scene.serves(&scene.one, &third);
}
