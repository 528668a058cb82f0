//! Notices of real processes: an apply, an edge and a commit are reported, each once, whatever the receiver and the server go
//! through in between.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::git_source::signature;
use crate::support::{World, ports, rule, wait_for, wait_until};

/// A request as a receiver got it.
#[derive(Debug, Clone)]
struct Received {
    line: String,
    head: String,
    raw: String,
    body: Value,
}

/// A receiver that answers with a status that a test chooses.
struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    status: Arc<Mutex<u16>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, status) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(200)));
        let (into, current) = (Arc::clone(&received), Arc::clone(&status));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (into, current) = (Arc::clone(&into), Arc::clone(&current));
                thread::spawn(move || answer(&stream, &into, &current));
            }
        });
        Self { port, received, status }
    }

    fn answer_with(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The bodies that were accepted, of one event.
    fn events(&self, event: &str) -> Vec<Value> {
        self.all().into_iter().map(|one| one.body).filter(|body| body["event"] == event).collect()
    }
}

fn answer(mut stream: &TcpStream, into: &Mutex<Vec<Received>>, status: &Mutex<u16>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut head, mut length) = (String::new(), String::new(), 0);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).unwrap();
            if field.trim().is_empty() {
                break;
            }
            let field = field.to_ascii_lowercase();
            if let Some(value) = field.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&field);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let raw = String::from_utf8(body).unwrap();
        let body = serde_json::from_str(&raw).unwrap_or(Value::Null);
        let status = *status.lock().unwrap();
        into.lock().unwrap().push(Received { line: line.trim().to_owned(), head, raw, body });
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Writes a `server.toml` and its secrets.
fn config(world: &World, text: &str, secrets: &[(&str, &str)]) -> String {
    for (name, secret) in secrets {
        fs::write(world.path(name), secret).unwrap();
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(world.path("server.toml"), text).unwrap();
    world.arg("server.toml")
}

fn notifiers(world: &World) -> Value {
    world.cli(&["notify", "list", "-o", "json"]).exits(0).json()
}

#[test]
fn an_apply_is_reported_once_although_the_receiver_is_down_and_the_server_is_killed_in_between() {
    let world = World::new();
    let receiver = Receiver::start();
    receiver.answer_with(503);
    let url = format!("http://127.0.0.1:{}/hook/secret-path", receiver.port);
    let text = "[[notify]]\nname = \"hook\"\nkind = \"webhook\"\nurl_file = \"hook.url\"\nsecret_file = \"hook.secret\"\n\
        events = [\"apply\", \"edge\"]\n";
    let config = config(&world, text, &[("hook.url", &url), ("hook.secret", "s3cret")]);
    let server = world.serve(&["--mode", "heal", "--config", &config]);
    let edge = world.edge("edge-01");
    let commit = world.edit("rules.toml", rule("edge-01", "web", ports(1), ports(1), ""));
    world.cli(&["apply", &world.tree_arg(), "--yes"]).exits(0);
    wait_until("the first attempt", || !receiver.all().is_empty());
    let list = wait_for("the failure to be shown", || {
        let list = notifiers(&world);
        if list[0]["last_error"].is_object() { Ok(list) } else { Err(list.to_string()) }
    });
    assert_eq!((&list[0]["pending"], &list[0]["kind"]), (&1.into(), &"webhook".into()), "{list}");
    assert_eq!(list[0]["receiver"], format!("http://127.0.0.1:{}", receiver.port));
    assert!(!list.to_string().contains("secret-path"), "{list}");
    let status = world.cli(&["status"]).exits(0);
    status.says("Notices to hook: 1 notice waits").says("503");
    assert_eq!(world.status()["notifiers"][0]["pending"], 1);
    let metrics = World::scrape(world.metrics);
    assert!(metrics.contains("portunus_notify_pending{name=\"hook\"} 1\n"), "{metrics}");

    server.kill();
    receiver.answer_with(204);
    let before = receiver.all().len();
    let server = world.serve(&["--mode", "heal", "--config", &config]);
    wait_until("what waited is sent at the start", || receiver.all().len() > before);
    let last = receiver.all().pop().unwrap();
    assert!(last.line.starts_with("POST /hook/secret-path HTTP/1.1"), "{last:?}");
    for one in receiver.all() {
        let signed = format!("x-portunus-signature-256: {}\r\n", signature("s3cret", &one.raw));
        assert!(one.head.contains(&signed), "the signature is over the bytes that were sent: {one:?}");
    }
    let body = &last.body;
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = ["event", "at", "edge", "rule", "owner", "commit", "actor", "why", "text"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&body["event"], &body["commit"]), (&"apply".into(), &commit.as_str().into()), "{body}");
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("applied, live on 1 of 1 edge, 0 connections cut"), "{text}");
    assert!(text.contains("\n+ edge-01/web"), "the text is the plan's own: {text}");
    wait_until("nothing waits", || notifiers(&world)[0]["pending"] == 0);
    world.cli(&["status"]).exits(0);

    world.wait_connected("edge-01", true);
    edge.stop();
    wait_until("the edge is reported", || !receiver.events("edge").is_empty());
    let offline = receiver.events("edge").remove(0);
    assert_eq!((&offline["edge"], &offline["rule"]), (&"edge-01".into(), &Value::Null), "{offline}");
    world.edge("edge-01");
    wait_until("its return is reported", || receiver.events("edge").len() == 2);
    let attempts: Vec<Value> = receiver.all().into_iter().map(|one| one.body["event"].clone()).collect();
    assert_eq!(receiver.events("apply").len() + 2, attempts.len(), "{attempts:?}");
    server.stop();
}

#[test]
fn a_test_shows_the_answer_and_fails_where_it_was_not_accepted() {
    let world = World::new();
    let receiver = Receiver::start();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", receiver.port);
    let text = format!(
        "[[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"{}\"\n[[notify]]\nname = \"forge\"\nkind = \"commit-status\"\n\
         forge = \"gitlab\"\nurl = \"{}\"\ntoken_file = \"token\"\n",
        url("/services/abcdefgh"),
        url("/group/sub/project"),
    );
    let config = config(&world, &text, &[("token", "glpat-1")]);
    world.serve(&["--mode", "heal", "--config", &config]);
    world.cli(&["notify", "list"]).exits(0).says("chat").says("commit-status (gitlab)");
    world.cli(&["notify", "test", "chat"]).exits(0).says("accepted the test of chat: 200: ok");
    assert!(receiver.all()[0].body["text"].as_str().unwrap().contains("This is a test"));
    world.cli(&["notify", "test", "forge"]).exits(0);
    let asked = receiver.all().pop().unwrap();
    assert!(asked.line.starts_with("GET /api/v4/projects/group%2Fsub%2Fproject "), "{asked:?}");
    assert!(asked.head.contains("private-token: glpat-1"), "{asked:?}");
    receiver.answer_with(403);
    let said = world.cli(&["notify", "test", "chat"]).exits(1);
    let said = said.says("did not accept the test of chat: the receiver answered 403");
    assert!(!said.err.contains("abcdefgh"));
    world.cli(&["notify", "test", "nobody"]).exits(1).says("there is no notifier `nobody`");
    // Nothing of a test is kept.
    assert_eq!(notifiers(&world)[0]["pending"], 0);
    let audit = world.cli(&["audit"]).exits(0);
    audit.says("/v1/notify/chat/test");
}

#[test]
fn each_kind_receives_a_message_in_its_own_form() {
    let world = World::new();
    let receiver = Receiver::start();
    let at = |path: &str| format!("url = \"http://127.0.0.1:{}{path}\"", receiver.port);
    let text = [
        format!("kind = \"slack\"\n{}", at("/services/T0/B0/abcdefgh")),
        format!("kind = \"teams\"\n{}", at("/workflows/abcdefgh?sig=ijklmnop")),
        format!("kind = \"discord\"\n{}", at("/api/webhooks/1/abcdefgh")),
        format!(
            "kind = \"matrix\"\ntoken_file = \"token\"\n{}",
            at("/_matrix/client/v3/rooms/%21a%3Ab/send/m.room.message")
        ),
        format!("kind = \"telegram\"\n{}", at("/bot1:abcdefgh/sendMessage?chat_id=-5")),
        format!("kind = \"webhook\"\n{}", at("/hook")),
    ];
    let tables = text.iter().enumerate().map(|(at, table)| format!("[[notify]]\nname = \"n{at}\"\n{table}\n"));
    let text = tables.collect::<Vec<_>>().concat();
    let config = config(&world, &text, &[("token", "syt_marked")]);
    world.serve(&["--mode", "heal", "--config", &config]);
    world.cli(&["freeze", "--why", "a <b> *c*"]).exits(0);
    wait_until("a message of each", || receiver.all().len() == 6);
    let (all, said) = (receiver.all(), "operator stopped applying: a <b> *c*");
    let of =
        |line: &str| all.iter().find(|one| one.line.starts_with(line)).unwrap_or_else(|| panic!("{line}: {all:?}"));
    assert_eq!(of("POST /services/T0/B0/abcdefgh ").body["text"], "operator stopped applying: a &lt;b&gt; *c*");
    let card = &of("POST /workflows/abcdefgh?sig=ijklmnop ").body["attachments"][0]["content"];
    assert_eq!(card["body"][0]["text"], "operator stopped applying: a <b> \\*c\\*");
    let content = &of("POST /api/webhooks/1/abcdefgh ").body["content"];
    assert_eq!(*content, "operator stopped applying: a \\<b\\> \\*c\\*");
    let room = of("PUT /_matrix/client/v3/rooms/%21a%3Ab/send/m.room.message/");
    assert_eq!(room.body, json!({ "msgtype": "m.text", "body": said }));
    assert!(room.head.contains("authorization: bearer syt_marked"), "{room:?}");
    assert_eq!(of("POST /bot1:abcdefgh/sendMessage?chat_id=-5 ").body["text"], said);
    let hook = of("POST /hook ");
    assert_eq!((&hook.body["text"], &hook.body["actor"]), (&said.into(), &"operator".into()));
    assert!(!hook.head.contains("x-portunus-signature-256"), "there is no secret: {hook:?}");
    assert!(all.iter().all(|one| one.head.contains("content-type: application/json\r\n")), "{all:?}");
}

/// What a forge is asked for: its name, the path of a status without its commit, its header, and its words.
struct Forge {
    name: &'static str,
    path: &'static str,
    token: &'static str,
    context: &'static str,
    failure: &'static str,
}

const FORGES: [Forge; 3] = [
    Forge {
        name: "github",
        path: "/api/v3/repos/ada/rules/statuses/",
        token: "authorization: bearer forge-token",
        context: "context",
        failure: "failure",
    },
    Forge {
        name: "gitlab",
        path: "/api/v4/projects/ada%2Frules/statuses/",
        token: "private-token: forge-token",
        context: "name",
        failure: "failed",
    },
    Forge {
        name: "forgejo",
        path: "/api/v1/repos/ada/rules/statuses/",
        token: "authorization: token forge-token",
        context: "context",
        failure: "failure",
    },
];

impl Forge {
    /// The states that a commit got, with their descriptions.
    fn states(&self, receiver: &Receiver, commit: &str) -> Vec<(String, String)> {
        let line = format!("POST {}{commit} ", self.path);
        let of = receiver.all().into_iter().filter(|one| one.line.starts_with(&line));
        of.map(|one| {
            assert_eq!(one.body[self.context], format!("portunus/{}", self.name), "{one:?}");
            assert!(one.head.contains(self.token), "{one:?}");
            let text = |key: &str| one.body[key].as_str().unwrap_or_default().to_owned();
            (text("state"), text("description"))
        })
        .collect()
    }

    /// Waits until a commit failed, and says why.
    fn failure(&self, receiver: &Receiver, commit: &str) -> String {
        wait_for("the failure", || match self.states(receiver, commit).pop() {
            Some((state, description)) if state == self.failure => Ok(description),
            other => Err(format!("{}: {other:?}", self.name)),
        })
    }
}

#[test]
fn a_commit_gets_pending_and_then_what_became_of_it_on_each_forge() {
    let world = World::new();
    let receiver = Receiver::start();
    let url = format!("http://127.0.0.1:{}/ada/rules", receiver.port);
    let table = |forge: &Forge| {
        let name = forge.name;
        format!(
            "[[notify]]\nname = \"{name}\"\nkind = \"commit-status\"\nforge = \"{name}\"\nurl = \"{url}\"\n\
             token_file = \"token\"\n"
        )
    };
    let text: String = FORGES.iter().map(table).collect();
    let config = config(&world, &text, &[("token", "forge-token")]);
    let port = ports(2);
    world.write("rules.toml", "");
    world.commit();
    world.serve(&["--mode", "apply", "--rules", &world.tree_arg(), "--config", &config]);
    world.edge("edge-01");
    let commit = world.edit("rules.toml", rule("edge-01", "web", port, port + 1, ""));
    for forge in &FORGES {
        let states = wait_for("the first commit", || {
            let states = forge.states(&receiver, &commit);
            if states.last().is_some_and(|(state, _)| state == "success") {
                Ok(states)
            } else {
                Err(forge.name.to_owned())
            }
        });
        let (first, last) = (&states[0], &states[states.len() - 1]);
        assert_eq!(*first, ("pending".to_owned(), "watch is applying it to 1 edge: rules: 1 added".to_owned()));
        assert_eq!(last.1, "live on 1 of 1 edge, 0 connections cut");
    }
    // A listener in the way: the rule fails, and the commit with it.
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let at = taken.local_addr().unwrap().port();
    let commit = world.edit("rules.toml", rule("edge-01", "web", at, port + 1, ""));
    for forge in &FORGES {
        let description = forge.failure(&receiver, &commit);
        assert!(description.starts_with("partial, live on 0 of 1 edge"), "{description}");
    }
    // A tree with an error is never applied.
    let commit = world.edit("rules.toml", "[[rule]]\nname = \"web\"\nlisten_port = 0\n");
    for forge in &FORGES {
        let description = forge.failure(&receiver, &commit);
        assert!(description.contains("the followed tree has errors"), "{description}");
    }
}

#[test]
fn a_notifier_whose_files_cannot_be_used_ends_the_start() {
    let world = World::new();
    let text = "[[notify]]\nname = \"hook\"\nkind = \"webhook\"\nurl_file = \"hook.url\"\n";
    let config = config(&world, text, &[("hook.url", "https://alerts.example.org/x")]);
    fs::set_permissions(world.path("hook.url"), fs::Permissions::from_mode(0o644)).unwrap();
    let args: Vec<String> = world.server_args();
    let mut all = vec!["serve", "--mode", "heal", "--config", &config];
    all.extend(args.iter().map(String::as_str));
    world.cli(&all).exits(1).says("notifier hook: `url_file` cannot be read").says("644");
    fs::set_permissions(world.path("hook.url"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(world.path("hook.url"), "http://user:password1@alerts.example.org/x").unwrap();
    let said = world.cli(&all).exits(1);
    let said = said.says("a password must not travel over plain http");
    assert!(!said.err.contains("password1"));
}
