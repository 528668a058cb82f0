//! Operators with real processes: over TLS by pin and context, by the identity tokens of CI jobs, and no secret anywhere.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use schema::canonical::Digest;
use serde_json::{Value, json};

use crate::processes::Said;
use crate::support::{World, http, ports, rule, wait_until};

/// A server whose operator port is on loopback, and beside it on every address over TLS.
struct Scene {
    world: World,
    tls: u16,
}

impl Scene {
    fn new() -> Self {
        let (world, tls) = (World::new(), ports(1));
        world.serve(&["--mode", "heal", "--allow-dirty", "--operator-listen", &format!("0.0.0.0:{tls}")]);
        Self { world, tls }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.tls)
    }

    fn pin(&self) -> String {
        let pem = fs::read(self.world.path("server-state/ca/ca-1.crt")).unwrap();
        Digest::of(&CertificateDer::from_pem_slice(&pem).unwrap()).to_string()
    }

    /// A command of somebody who has nothing but what is said here.
    fn elsewhere(&self, args: &[&str], token: &str) -> Said {
        let none = [("PORTUNUS_SERVER", ""), ("PORTUNUS_STATE_DIR", ""), ("PORTUNUS_OPERATOR_TOKEN", token)];
        self.world.cli_with(args, &none)
    }

    fn create(&self, args: &[&str]) -> String {
        let all = [&["operator", "create"], args, &["-o", "json"]].concat();
        let created = self.world.cli(&all).exits(0).json();
        created["token"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn an_operator_signs_in_over_tls_by_the_pin_and_works_from_anywhere() {
    let scene = Scene::new();
    let (url, pin, token) = (scene.url(), scene.pin(), scene.create(&["ops", "--role", "applier"]));
    let contexts = scene.world.path("home/.config/portunus/contexts.json");
    let wrong = format!("sha256:{}", "0".repeat(64));
    scene.elsewhere(&["login", &url, "--pin", &wrong], &token).exits(1).says("nothing was sent");
    scene.elsewhere(&["login", &url], &token).exits(1).says("nothing was sent");
    scene.elsewhere(&["login", &url, "--pin", &pin], "wrong").exits(1).says("bearer token");
    assert!(!contexts.exists(), "nothing is stored before pin and token are known to be right");
    let file = scene.world.path("the-token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let at = format!("@{}", file.display());
    scene.elsewhere(&["login", &url, "--pin", &pin, "--token", &at], "").exits(0).says("ops");
    assert_eq!(fs::metadata(&contexts).unwrap().permissions().mode() & 0o777, 0o600);
    // A token that others can read is used, and its owner hears of it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = scene.elsewhere(&["login", &url, "--pin", &pin, "--token", &at], "").exits(0);
    open.says("its mode 644 lets others read it: chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let closed = scene.elsewhere(&["login", &url, "--pin", &pin, "--token", &at], "").exits(0);
    assert!(!closed.err.contains("note:"), "{closed}");
    // Commands use the context; the ledger names the operator.
    scene.elsewhere(&["freeze", "--why", "fair"], "").exits(0);
    let status = scene.elsewhere(&["status", "-o", "json"], "").exits(0).json();
    assert_eq!(status["frozen"]["by"], "ops");
    let history = scene.elsewhere(&["history", "-o", "json"], "").exits(0).json();
    assert_eq!(history[0]["actor"], "ops");
    scene.elsewhere(&["operator", "list"], "").exits(1).says("admin");
    // Flags and the environment come first, and a token goes to its own origin only.
    scene.elsewhere(&["status"], "wrong").exits(1);
    let plain = format!("http://127.0.0.1:{}", scene.world.operator);
    scene.elsewhere(&["status", "--server", &plain], "").exits(1);
    let name = format!("127.0.0.1:{}", scene.tls);
    let listed = scene.elsewhere(&["context", "list", "-o", "json"], "").exits(0);
    assert!(!listed.out.contains(&token), "{listed}");
    assert_eq!((&listed.json()[0]["name"], &listed.json()[0]["current"]), (&json!(name), &json!(true)));
    // Revoked is refused from then on, and its streams end and say why; a removed context is gone.
    let watching = ["events", "--server", &plain, "--token", &token];
    let watching = scene.world.start_cli("watching", &watching);
    wait_until("the snapshot", || watching.log().contains("snapshot"));
    scene.world.cli(&["operator", "revoke", "ops"]).exits(0);
    assert_eq!(watching.ended(), 1, "{}", watching.log());
    assert!(watching.log().contains("bearer token"), "{}", watching.log());
    scene.elsewhere(&["status"], "").exits(1);
    let used = scene.elsewhere(&["context", "use", &name, "-o", "json"], "").exits(0).json();
    assert_eq!((&used["name"], &used["operator"], &used["current"]), (&json!(name), &json!("ops"), &json!(true)));
    let removed = scene.elsewhere(&["context", "remove", &name, "-o", "json"], "").exits(0).json();
    assert_eq!((&removed["name"], &removed["current"]), (&json!(name), &json!(false)));
    scene.elsewhere(&["context", "use", &name], "").exits(1);
}

#[test]
fn the_operator_port_speaks_nothing_but_tls_where_others_can_reach_it() {
    let scene = Scene::new();
    let auth = format!("Bearer {}", scene.world.token());
    let answer = http(scene.tls, "GET", "/v1/status", &[("Authorization", &auth)], "");
    assert!(answer.as_ref().is_ok_and(|(status, body)| *status == 400 && body.contains("TLS")), "{answer:?}");
    scene.elsewhere(&["status", "--server", "http://10.0.0.1:7080"], "x").exits(64).says("https://");
    // Over TLS, a name that the server does not have is a foreign host.
    let (url, pin) = (format!("https://localhost:{}", scene.tls), scene.pin());
    scene.elsewhere(&["status", "--server", &url, "--pin", &pin], &scene.world.token()).exits(0);
}

#[test]
fn an_edges_certificate_opens_nothing_at_the_operator_port() {
    let scene = Scene::new();
    let world = &scene.world;
    let _edge = world.edge("edge-01");
    world.wait_connected("edge-01", true);
    let state = world.path("edge-01-state");
    let credentials = edge::membership(&state).unwrap().unwrap().credentials.unwrap();
    let (certificate, key) = (world.path("edge.crt"), world.path("edge.key"));
    fs::write(&certificate, credentials.certificate).unwrap();
    fs::write(&key, credentials.key).unwrap();
    let asked = |path: &str, headers: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--max-time", "20", "--cert-type", "DER", "--key-type", "DER", "--cert"]);
        curl.arg(&certificate).arg("--key").arg(&key).args(["--write-out", "%{http_code}"]);
        for header in headers {
            curl.args(["--header", header]);
        }
        String::from_utf8(curl.arg(format!("{}{path}", scene.url())).output().unwrap().stdout).unwrap()
    };
    for path in ["/v1/status", "/v1/edges", "/v1/audit", "/v1/operators/me"] {
        let answer = asked(path, &[]);
        assert!(answer.ends_with("401") && answer.contains("\"unauthorized\""), "{path}: {answer}");
        assert!(!answer.contains("edge-01"), "a stranger learns nothing: {answer}");
    }
    // The same connection with an operator's token is served: it is the token that counts.
    let token = format!("Authorization: Bearer {}", world.token());
    assert!(asked("/v1/operators/me", &[&token]).ends_with("200"));
    world.wait_connected("edge-01", true);
}

/// A forge that gives identity tokens to its jobs.
struct Issuer {
    url: String,
    pair: KeyPair,
}

impl Issuer {
    fn start() -> Self {
        let pair = KeyPair::generate().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let point = pair.public_key_raw().to_vec();
        let (x, y) = (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]));
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256", "x": x, "y": y });
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string();
        let keys = json!({ "keys": [key] }).to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 2048];
                let read = stream.read(&mut request).unwrap_or(0);
                let is_keys = request[..read].starts_with(b"GET /keys ");
                let body = if is_keys { &keys } else { &discovery };
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok();
            }
        });
        Self { url, pair }
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({ "iss": self.url, "aud": "portunus", "repository": "team/rules", "exp": now + 300, "iat": now })
    }

    fn token_with(&self, header: &Header, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        encode(header, &claims, &EncodingKey::from_ec_der(&self.pair.serialize_der())).unwrap()
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        self.token_with(&header(), change)
    }
}

fn header() -> Header {
    Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) }
}

#[test]
fn a_ci_job_applies_by_its_identity_token_and_no_other_token_passes() {
    let scene = Scene::new();
    scene.world.edge("edge-01");
    let issuer = Issuer::start();
    let ci = |name: &str, claim: &str| {
        let args = [name, "--role", "applier", "--oidc-issuer", &issuer.url, "--oidc-audience", "portunus"];
        scene.create(&[&args[..], &["--oidc-claim", claim]].concat())
    };
    assert_eq!(ci("ci", "repository=team/*"), "", "it has no token of its own");
    let (url, pin) = (scene.url(), scene.pin());
    let with =
        |token: &str, args: &[&str]| scene.elsewhere(&[args, &["--server", &url, "--pin", &pin]].concat(), token);
    scene.world.write("web.toml", rule("edge-01", "web", ports(1), ports(1), ""));
    let tree = scene.world.tree_arg();
    with(&issuer.token(|_| ()), &["apply", &tree, "--yes", "--allow-dirty"]).exits(0);
    let history = scene.world.cli(&["history", "-o", "json"]).exits(0).json();
    assert_eq!(history[0]["actor"], "ci");
    let other = Issuer { url: issuer.url.clone(), pair: KeyPair::generate().unwrap() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let unknown = Header { kid: Some("k2".to_owned()), ..Header::new(Algorithm::ES256) };
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = |alg: &str| format!("{}.{}", part(&json!({ "alg": alg, "kid": "k1" })), part(&issuer.claims()));
    let public = EncodingKey::from_secret(issuer.pair.public_key_raw()).unwrap();
    let symmetric = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
    for (what, token) in [
        ("another audience", issuer.token(|claims| claims["aud"] = json!("other"))),
        ("another issuer", issuer.token(|claims| claims["iss"] = json!("http://127.0.0.1:1"))),
        ("another repository", issuer.token(|claims| claims["repository"] = json!("evil/rules"))),
        ("expired", issuer.token(|claims| claims["exp"] = json!(now - 100))),
        ("another key", other.token(|_| ())),
        ("an unknown key", issuer.token_with(&unknown, |_| ())),
        ("no signature", format!("{}.", message("none"))),
        ("a symmetric signature", encode(&symmetric, &issuer.claims(), &public).unwrap()),
    ] {
        let said = with(&token, &["status"]).exits(1).says("valid bearer token");
        assert!(!said.err.contains(&token), "{what}: {said}");
    }
    // One that fits several operators is nobody's.
    with(&issuer.token(|_| ()), &["status"]).exits(0);
    ci("ci-too", "repository=team/rules");
    with(&issuer.token(|_| ()), &["status"]).exits(1);
    scene.world.cli(&["operator", "revoke", "ci-too"]).exits(0);
    with(&issuer.token(|_| ()), &["status"]).exits(0);
}

#[test]
fn an_issuer_that_is_down_lets_nobody_in() {
    let scene = Scene::new();
    let url = format!("http://127.0.0.1:{}", ports(1));
    let issuer = Issuer { url: url.clone(), pair: KeyPair::generate().unwrap() };
    scene.create(&[
        "ci",
        "--role",
        "viewer",
        "--oidc-issuer",
        &url,
        "--oidc-audience",
        "portunus",
        "--oidc-claim",
        "repository=*",
    ]);
    scene.elsewhere(&["status", "--server", &scene.url(), "--pin", &scene.pin()], &issuer.token(|_| ())).exits(1);
    scene.world.cli(&["status"]).exits(0);
}

/// Every file below, but for those that are there to hold a secret.
fn files(at: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn no_secret_is_written_anywhere_but_where_it_belongs() {
    let scene = Scene::new();
    scene.world.edge("edge-01");
    let issuer = Issuer::start();
    let (url, pin) = (scene.url(), scene.pin());
    let token = scene.create(&["ops", "--role", "admin"]);
    let limited = scene.create(&["web", "--role", "applier", "--owner", "team"]);
    let job = issuer.token(|_| ());
    scene.world.write("web.toml", rule("edge-01", "web", ports(1), ports(1), ""));
    let tree = scene.world.tree_arg();
    let mut said = Vec::new();
    for secret in [token.as_str(), &limited, &job, "GUESSED-TOKEN"] {
        let with = |args: &[&str]| scene.elsewhere(&[args, &["--server", &url, "--pin", &pin]].concat(), secret);
        said.push(with(&["status", "-o", "json"]));
        said.push(with(&["plan", &tree, "--out", &scene.world.arg("a.plan")]));
        said.push(with(&["apply", &tree, "--yes", "--allow-dirty"]));
        said.push(with(&["operator", "list", "-o", "json"]));
        said.push(with(&["audit", "-o", "json"]));
        said.push(with(&["status", "--nonsense"]));
    }
    let secrets = [token.as_str(), &limited, &job, "GUESSED-TOKEN", &scene.world.token()];
    for one in &said {
        assert!(secrets.iter().all(|secret| !one.out.contains(secret) && !one.err.contains(secret)), "{one}");
    }
    let mut written = Vec::new();
    files(&scene.world.path(""), &mut written);
    assert!(written.iter().any(|(name, _)| name.ends_with("server.redb")) && written.len() > 5);
    for (name, bytes) in written.iter().filter(|(name, _)| !name.ends_with("operator.token")) {
        for secret in secrets {
            let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there, "{name} holds {}…", &secret[..6]);
        }
    }
}
