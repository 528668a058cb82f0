//! Notices of a server to receivers that hang, redirect, refuse and come back, and of many things that happen at once.

use std::sync::{Arc, Mutex};

use jiff::{Span, Timestamp};
use reconciler::act::guarded::Guards;
use reconciler::act::store::{Batch, Store};
use reconciler::decide::notices::{
    Letter, LetterContent, News, NewsFilter, Notifier, NotifierKind, Topic, UrlSource, letter_key,
};
use schema::proto;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{LONG, Running};

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Status(u16),
    Hangs,
}

/// A receiver.
#[derive(Clone)]
struct Receiver {
    port: u16,
    bodies: Arc<Mutex<Vec<Value>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Receiver {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, bodies: Arc::default(), mood: Arc::new(Mutex::new(mood)) };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(stream));
            }
        });
        receiver
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let body = loop {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                break body.to_owned();
            }
        };
        self.bodies.lock().unwrap().push(serde_json::from_str(&body).unwrap_or_default());
        let mood = *self.mood.lock().unwrap();
        let Mood::Status(status) = mood else { return std::future::pending().await };
        let text = format!(
            "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:{}/elsewhere\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            self.port
        );
        stream.write_all(text.as_bytes()).await.ok();
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }

    fn texts(&self) -> Vec<String> {
        self.bodies().iter().map(|body| body["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn webhook(&self, name: &str, topics: &[Topic], owners: &[&str]) -> Notifier {
        Notifier {
            name: name.to_owned(),
            kind: NotifierKind::Webhook,
            url: UrlSource::Inline(format!("http://127.0.0.1:{}/{name}", self.port)),
            token_file: None,
            secret_file: None,
            forge: None,
            filter: NewsFilter::new(topics.to_vec(), &[], owners.iter().map(|owner| (*owner).to_owned())).unwrap(),
            min_interval: std::time::Duration::ZERO,
        }
    }
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        while !is_so().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

async fn start(dir: TempDir, notifiers: Vec<Notifier>) -> Running {
    Running::start_as(dir, Guards::within(1024), |config| config.notifiers = notifiers).await
}

fn rules(count: u16) -> Value {
    let rule = |number: u16| {
        format!(
            "[[rule]]\nname = \"r{number:02}\"\nowner = \"{}\"\nlisten_port = {}\ntarget = \"127.0.0.1:80\"\n",
            if number.is_multiple_of(2) { "even" } else { "odd" },
            18100 + number
        )
    };
    let text: String = (0..count).map(rule).collect();
    json!({ "files": [{ "path": "a.toml", "text": text }], "allowances": { "dirty": true } })
}

fn down() -> proto::TargetReport {
    proto::TargetReport {
        target: "127.0.0.1:80".to_owned(),
        state: "down".to_owned(),
        weight: 100,
        last: Some(proto::TargetResult { code: "L4CON".to_owned(), detail: "refused".to_owned(), at_ms: 1 }),
        ..proto::TargetReport::default()
    }
}

async fn pending(server: &Running, name: &str) -> Value {
    let list: Value = server.api().get("/v1/notify").await.json();
    list.as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap()
}

#[tokio::test]
async fn thirty_rules_that_go_down_are_one_message_and_owners_see_their_own() {
    let (all, even) = (Receiver::start(Mood::Status(200)).await, Receiver::start(Mood::Status(200)).await);
    let notifiers = vec![all.webhook("all", &[Topic::Health], &[]), even.webhook("even", &Topic::ALL, &["even"])];
    let server = start(TempDir::new().unwrap(), notifiers).await;
    let mut session = server.session("local").await;
    assert_eq!(server.api().post("/v1/apply", &rules(30)).await.status, 202);
    let desired = session.desired().await;
    session.accept_with(&desired, Some("up"), &[]).await;
    session.accept_with(&desired, Some("down"), &[down()]).await;
    eventually("the message", async || !all.bodies().is_empty() && !even.bodies().is_empty()).await;
    let text = &all.texts()[0];
    assert!(text.contains("30 rules on 1 edge are down: local/r00, "), "{text}");
    assert!(text.contains("127.0.0.1:80 is down in 30 rules on 1 edge"), "{text}");
    let merged = all.bodies()[0]["merged"].as_array().unwrap().clone();
    assert!(merged.iter().any(|one| one["why"] == "L4CON: refused"), "{merged:?}");
    assert!(even.texts()[0].contains("15 rules on 1 edge are down: local/r00, local/r02, "), "{:?}", even.texts());
    assert_eq!(even.bodies()[0]["owner"], "even");
    // The same again is not news; what is up again is.
    session.accept_with(&desired, Some("down"), &[down()]).await;
    let up = proto::TargetReport { state: "up".to_owned(), ..down() };
    session.accept_with(&desired, Some("up"), &[up]).await;
    eventually("the end of it", async || all.bodies().len() == 2).await;
    assert!(all.texts()[1].contains("30 rules on 1 edge are up again"), "{:?}", all.texts());
    server.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other_and_a_redirect_is_not_followed() {
    let (hanging, good) = (Receiver::start(Mood::Hangs).await, Receiver::start(Mood::Status(200)).await);
    let moved = Receiver::start(Mood::Status(307)).await;
    let of = |receiver: &Receiver, name: &str| receiver.webhook(name, &[Topic::Freeze], &[]);
    let notifiers = vec![of(&hanging, "a-hanging"), of(&moved, "b-moved"), of(&good, "c-good")];
    let server = start(TempDir::new().unwrap(), notifiers).await;
    assert_eq!(server.api().post("/v1/freeze", &json!({ "why": "fire" })).await.status, 200);
    eventually("the good one", async || good.bodies().len() == 1).await;
    let body = good.bodies().remove(0);
    assert_eq!((&body["event"], &body["actor"], &body["why"]), (&json!("freeze"), &json!("operator"), &json!("fire")));
    eventually("the redirect", async || pending(&server, "b-moved").await["last_error"].is_object()).await;
    let error = pending(&server, "b-moved").await["last_error"]["message"].as_str().unwrap().to_owned();
    assert!(error.contains("307") && error.contains("redirects are not followed"), "{error}");
    eventually("its time is over", async || pending(&server, "a-hanging").await["last_error"].is_object()).await;
    assert_eq!(pending(&server, "a-hanging").await["pending"], 1);
    // It comes back: what waited arrives, in order.
    *hanging.mood.lock().unwrap() = Mood::Status(204);
    server.api().delete("/v1/freeze").await;
    eventually("what waited", async || pending(&server, "a-hanging").await["pending"] == 0).await;
    let events: Vec<Value> = hanging.bodies().iter().map(|body| body["why"].clone()).collect();
    assert_eq!(events.first(), Some(&json!("fire")), "{events:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_waits_survives_a_restart_and_what_was_reported_is_not_reported_again() {
    let receiver = Receiver::start(Mood::Status(500)).await;
    let notifiers = || vec![receiver.webhook("hook", &[Topic::Health, Topic::Edge], &[])];
    let server = start(TempDir::new().unwrap(), notifiers()).await;
    let mut session = server.session("local").await;
    assert_eq!(server.api().post("/v1/apply", &rules(1)).await.status, 202);
    let desired = session.desired().await;
    session.accept_with(&desired, Some("down"), &[down()]).await;
    eventually("an attempt", async || !receiver.bodies().is_empty()).await;
    let dir = server.stop().await;
    drop(session);
    let before = receiver.bodies().len();
    *receiver.mood.lock().unwrap() = Mood::Status(200);
    let server = start(dir, notifiers()).await;
    eventually("what waited", async || receiver.bodies().len() > before).await;
    assert!(receiver.texts()[before].contains("local/r00 is down"), "{:?}", receiver.texts());
    let session = server.session("local").await;
    session.accept_with(&desired, Some("down"), &[down()]).await;
    let up = proto::TargetReport { state: "up".to_owned(), ..down() };
    session.accept_with(&desired, Some("up"), &[up]).await;
    eventually("the end", async || receiver.texts().iter().any(|text| text.contains("is up again after"))).await;
    let times = receiver.texts().iter().skip(before).filter(|text| text.contains("local/r00 is down")).count();
    assert_eq!(times, 1, "{:?}", receiver.texts());
    server.stop().await;
}

#[tokio::test]
async fn a_tree_that_is_not_applied_is_reported_once_over_restarts() {
    let receiver = Receiver::start(Mood::Status(200)).await;
    let notifiers = || vec![receiver.webhook("hook", &[Topic::Held, Topic::Freeze], &[])];
    let (dir, tree) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let begin = async |dir| {
        Running::start_as(dir, Guards::within(1024), |config| {
            (config.notifiers, config.rules) = (notifiers(), Some(tree.path().to_owned()));
        })
        .await
    };
    std::fs::write(tree.path().join("a.toml"), "[[rule]]\nname = \"a\"\n").unwrap();
    let server = begin(dir).await;
    eventually("that it is not applied", async || receiver.bodies().len() == 1).await;
    assert_eq!(receiver.bodies()[0]["event"], "held");
    let server = begin(server.stop().await).await;
    // What is sent later comes behind anything that the start had to report.
    eventually("the tree to be read", async || {
        let status: Value = server.api().get("/v1/status").await.json();
        status["revision"]["attempted"].is_object()
    })
    .await;
    assert_eq!(server.api().post("/v1/freeze", &json!({ "why": "fire" })).await.status, 200);
    eventually("the next message", async || receiver.bodies().len() > 1).await;
    assert_eq!(receiver.bodies()[1]["event"], "freeze", "{:?}", receiver.bodies());
    server.stop().await;
}

#[tokio::test]
async fn what_waited_for_more_than_a_day_is_given_up_and_shown() {
    let dir = TempDir::new().unwrap();
    let long_ago = Timestamp::now() - Span::new().hours(25);
    let content = LetterContent::news(vec![News::new(Topic::Freeze, long_ago, "an old story".to_owned())], 0);
    let letter = Letter { id: 1, at: long_ago, content };
    let store = Store::open(&dir.path().join("state")).unwrap();
    store.commit(&Batch::new().put(letter_key("hook", 1), serde_json::to_vec(&letter).unwrap())).unwrap();
    drop(store);
    let receiver = Receiver::start(Mood::Status(200)).await;
    let notifiers = || vec![receiver.webhook("hook", &[Topic::Freeze], &[])];
    let server = start(dir, notifiers()).await;
    eventually("that it is given up", async || pending(&server, "hook").await["given_up"] == 1).await;
    let shown = pending(&server, "hook").await;
    assert_eq!((&shown["pending"], receiver.bodies().len()), (&json!(0), 0), "{shown}");
    assert_eq!(shown["last_given_up"]["message"], "the server was not running when its day was over", "{shown}");
    // It stays shown, and later ones are sent.
    let server = start(server.stop().await, notifiers()).await;
    assert_eq!(pending(&server, "hook").await["given_up"], 1);
    assert_eq!(server.api().post("/v1/freeze", &json!({ "why": "fire" })).await.status, 200);
    eventually("the next one", async || receiver.texts() == ["operator stopped applying: fire"]).await;
    server.stop().await;
}
