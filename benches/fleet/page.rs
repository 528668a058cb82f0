//! What the page costs a server with that fleet: first views, and the streams of many open pages. I/O over loopback.

use std::time::{Duration, Instant};

use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::in_words;
use super::sessions::Places;

/// Times that each view is read.
const TIMES: usize = 15;
/// Pages that are open at the same time.
const OPEN: usize = 200;
/// How long they stay open, and how often the server updates each in that time.
const WATCHED: Duration = Duration::from_secs(30);
const UPDATES: usize = 6;

/// Somebody who is signed in.
struct Visitor {
    client: Client,
    cookie: String,
    server: String,
}

impl Visitor {
    async fn sign_in(places: &Places) -> Self {
        let client = Client::builder().redirect(Policy::none()).build().expect("a client");
        let form = format!("token={}", places.token);
        let request = client.post(format!("{}/ui/sign-in", places.operator)).header(ORIGIN, &places.operator);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{:?}", answer.headers().get(LOCATION));
        let cookie = answer.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok()).expect("a cookie");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        Self { client, cookie, server: places.operator.clone() }
    }

    async fn get(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.server)).header(COOKIE, &self.cookie);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status).expect("a page");
        answer.text().await.expect("the whole page")
    }

    /// An event stream that is open: its first event came.
    async fn stream(&self, path: &str) -> reqwest::Response {
        let request = self.client.get(format!("{}{path}", self.server)).header(COOKIE, &self.cookie);
        let mut answer = request.send().await.and_then(reqwest::Response::error_for_status).expect("a stream");
        answer.chunk().await.expect("an event").expect("a stream that goes on");
        answer
    }
}

/// Prints rows: views with their time and size, and what an open page costs.
pub(crate) async fn measure(places: &Places, edges: &[String], processor: impl Fn() -> f64) {
    let visitor = Visitor::sign_in(places).await;
    let first = visitor.get("/ui/").await;
    let mut assets = 0;
    let linked = first.split(['"', '\'']).filter(|part| part.starts_with("/ui/assets/"));
    for asset in linked {
        assets += visitor.get(asset).await.len();
    }
    println!("| style sheet, scripts and icon, KiB | {:.1} | once |", assets as f64 / 1024.0);
    let rule = format!("/ui/rules/{0}/web-{1}", edges[0], &edges[0][5..]);
    let edge = format!("/ui/edges/{}", edges[0]);
    for path in
        ["/ui/", "/ui/rules", "/ui/rules?sort=health&owner=team-3", "/ui/rules?offset=500", &rule, "/ui/edges", &edge]
    {
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..TIMES {
            let begin = Instant::now();
            size = visitor.get(path).await.len();
            times.push(begin.elapsed());
        }
        println!("| `{path}`, {:.1} KiB | {} |", size as f64 / 1024.0, in_words(times));
    }
    let begin = processor();
    tokio::time::sleep(WATCHED).await;
    let alone = processor() - begin;
    let mut open = Vec::new();
    for edge in edges.iter().cycle().take(OPEN) {
        let path = format!("/ui/live/rules/{edge}/web-{}?per_target=true", &edge[5..]);
        let mut stream = visitor.stream(&path).await;
        open.push(tokio::spawn(async move { while let Ok(Some(_)) = stream.chunk().await {} }));
    }
    let begin = processor();
    tokio::time::sleep(WATCHED).await;
    let cost = (processor() - begin - alone).max(0.0) * 1000.0 / (OPEN * UPDATES) as f64;
    println!(
        "| {OPEN} open pages: processor time of a view and update | {cost:.2} ms | over {} s |",
        WATCHED.as_secs()
    );
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begin = Instant::now();
        visitor.get("/ui/rules").await;
        times.push(begin.elapsed());
    }
    println!("| `/ui/rules` meanwhile | {} |", in_words(times));
    for page in open {
        page.abort();
    }
}
