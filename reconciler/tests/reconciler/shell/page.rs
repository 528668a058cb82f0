//! The page over the real port: sign-in, and what ends a session.

mod foreign;
mod views;

use serde_json::json;

use super::Running;
use super::http::{Answer, Client, Events};

/// A browser: it keeps the cookie, says where its forms come from, and follows nothing by itself.
pub(super) struct Browser {
    client: Client,
    cookie: Option<String>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        // Names are compared without regard to case, values are as they were sent.
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[track_caller]
    pub(super) fn leads_to(&self, place: &str) {
        assert_eq!(self.status, 303, "{self:?}");
        assert_eq!(self.header("location"), Some(place), "{self:?}");
    }

    /// `NAME=ID` of the cookie that is set.
    fn cookie(&self) -> Option<String> {
        self.header("set-cookie").and_then(|cookie| cookie.split(';').next()).map(str::to_owned)
    }
}

impl Browser {
    pub(super) fn new(server: &Running) -> Self {
        let client = Client { content_type: None, ..Client::new(server.operator, None) };
        Self { client, cookie: None }
    }

    pub(super) fn with_headers(&self, more: &str) -> Client {
        let cookie = self.cookie.as_ref().map(|cookie| format!("cookie: {cookie}\r\n")).unwrap_or_default();
        Client { headers: format!("{cookie}{more}"), ..self.client.clone() }
    }

    pub(super) fn own_origin(&self) -> String {
        format!("origin: http://{}\r\n", self.client.host)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.with_headers("").get(path).await
    }

    /// A stream of events.
    pub(super) async fn events(&self, path: &str) -> Events {
        self.with_headers("").events(path).await
    }

    /// Sends a form with these headers.
    pub(super) async fn post_with(&self, path: &str, form: &str, headers: &str) -> Answer {
        let client = Client { content_type: Some("application/x-www-form-urlencoded"), ..self.with_headers(headers) };
        client.post_text(path, form).await
    }

    /// Sends a form as a page of the server does.
    pub(super) async fn post(&self, path: &str, form: &str) -> Answer {
        self.post_with(path, form, &self.own_origin()).await
    }

    pub(super) async fn sign_in(&mut self, token: &str) -> Answer {
        let answer = self.post("/ui/sign-in", &format!("token={token}")).await;
        self.cookie = answer.cookie().or(self.cookie.take());
        answer
    }
}

pub(super) async fn signed_in(server: &Running) -> Browser {
    let mut browser = Browser::new(server);
    browser.sign_in(&server.token).await.leads_to("/ui/");
    browser
}

#[tokio::test]
async fn a_token_signs_in_and_the_page_shows_the_fleet() {
    let server = Running::start().await;
    let mut browser = Browser::new(&server);
    browser.get("/").await.leads_to("/ui/");
    browser.get("/ui").await.leads_to("/ui/");
    browser.get("/ui/").await.leads_to("/ui/sign-in?to=%2fui%2f");
    let form = browser.get("/ui/sign-in").await;
    assert!(form.status == 200 && form.body.contains("name=\"token\""), "{form:?}");
    let answer = browser.sign_in(&server.token).await;
    answer.leads_to("/ui/");
    let cookie = answer.header("set-cookie").expect("a cookie");
    for part in ["; path=/", "; httponly", "; samesite=strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("secure"), "plain HTTP on loopback: {cookie}");
    let fleet = browser.get("/ui/").await;
    assert_eq!((fleet.status, fleet.content_type()), (200, "text/html; charset=utf-8"));
    for text in ["Nothing has been applied yet", "operator <span class=\"badge\">admin</span>", "aria-current=\"page\""]
    {
        assert!(fleet.body.contains(text), "{text}: {}", fleet.body);
    }
    let entry = |who: &str, what: &str, outcome: &str| (who.to_owned(), what.to_owned(), outcome.to_owned());
    assert_eq!(server.audit().await, [entry("operator", "POST /ui/sign-in", "done")]);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_counted_and_written_down() {
    let server = Running::start().await;
    let mut browser = Browser::new(&server);
    for _ in 0..10 {
        let refused = browser.sign_in("wrong").await;
        assert!(refused.status == 401 && refused.body.contains("not valid"), "{refused:?}");
    }
    let limited = browser.sign_in("wrong").await;
    assert_eq!(limited.status, 429, "{limited:?}");
    let wait = limited.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
    assert!(wait.is_some_and(|secs| (1..=60).contains(&secs)), "{limited:?}");
    // The API counts the same source, and a valid token is always served.
    let api = Client::new(server.operator, Some("wrong".to_owned()));
    api.get("/v1/status").await.is_problem(429, "too_many_failed_logins");
    assert!(browser.cookie.is_none());
    browser.sign_in(&server.token).await.leads_to("/ui/");
    let audit = server.audit().await;
    let count = |outcome: &str| {
        audit
            .iter()
            .filter(|(who, what, found)| who.is_empty() && what == "POST /ui/sign-in" && found == outcome)
            .count()
    };
    assert_eq!((count("unauthorized"), count("too_many_failed_logins")), (10, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_session_that_was_given_to_a_browser_is_not_the_one_that_signs_in() {
    let server = Running::start().await;
    let name = format!("portunus-{}", server.operator.port());
    let mut browser = Browser::new(&server);
    browser.cookie = Some(format!("{name}=fixed"));
    let answer = browser.sign_in(&server.token).await;
    answer.leads_to("/ui/");
    let first = browser.cookie.clone().expect("a cookie");
    assert!(first.starts_with(&name) && first != format!("{name}=fixed"));
    let fixed = Browser { cookie: Some(format!("{name}=fixed")), ..Browser::new(&server) };
    assert_eq!(fixed.get("/ui/").await.status, 303);
    // The next sign-in of the same browser ends the session before it.
    browser.sign_in(&server.token).await.leads_to("/ui/");
    assert_ne!(browser.cookie.as_ref(), Some(&first));
    let before = Browser { cookie: Some(first), ..Browser::new(&server) };
    assert_eq!(before.get("/ui/").await.status, 303);
    assert_eq!(browser.get("/ui/").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_stolen_cookie_is_worth_nothing_after_the_sign_out() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    let stolen =
        Client { headers: format!("cookie: {}\r\n", browser.cookie.clone().unwrap()), ..browser.client.clone() };
    let mut events = stolen.events("/ui/live/events").await;
    events.named("snapshot").await;
    // Without an origin nobody is signed out either.
    let refused = browser.post_with("/ui/sign-out", "", "").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(stolen.get("/ui/").await.status, 200);
    let out = browser.post("/ui/sign-out", "").await;
    out.leads_to("/ui/sign-in");
    assert!(out.header("set-cookie").is_some_and(|cookie| cookie.contains("max-age=0")), "{out:?}");
    stolen.get("/ui/").await.leads_to("/ui/sign-in?to=%2fui%2f");
    stolen.get("/v1/status").await.is_problem(401, "unauthorized");
    while events.next().await.is_some() {}
    server.stop().await;
}

#[tokio::test]
async fn a_link_signs_in_once_and_its_code_is_gone_from_the_address() {
    let server = Running::start().await;
    let link = format!("/ui/sign-in?once={}", server.sessions.new_link().unwrap());
    let mut browser = Browser::new(&server);
    // A browser that only fetches ahead does not use it up, and gets a form that does.
    for header in [
        "sec-purpose: prefetch",
        "sec-purpose: prefetch;prerender",
        "purpose: prefetch",
        "x-moz: prefetch",
        "x-purpose: preview",
        "sec-fetch-dest: image",
        "sec-fetch-dest: empty",
        "user-agent: Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "user-agent: facebookexternalhit/1.1",
    ] {
        let ahead = browser.with_headers(&format!("{header}\r\n")).get(&link).await;
        assert!(ahead.status == 200 && ahead.cookie().is_none(), "{header}: {ahead:?}");
        assert!(ahead.body.contains("name=\"once\""), "{header}: {ahead:?}");
    }
    let request = format!("HEAD {link} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", browser.client.host);
    let head = browser.client.raw(request.into_bytes()).await;
    assert!(head.status == 200 && head.cookie().is_none(), "{head:?}");
    let answer = browser.get(&link).await;
    answer.leads_to("/ui/");
    browser.cookie = answer.cookie();
    assert!(browser.get("/ui/").await.body.contains("operator <span"));
    let again = Browser::new(&server).get(&link).await;
    assert!(again.status == 401 && again.cookie().is_none() && again.body.contains("has been used"), "{again:?}");
    // The browser that it signed in is led on, not refused.
    browser.get(&link).await.leads_to("/ui/");
    let form = format!("once={}", server.sessions.new_link().unwrap());
    let by_form = Browser::new(&server).post("/ui/sign-in", &form).await;
    by_form.leads_to("/ui/");
    let audit = server.audit().await;
    let has = |what: &str, outcome: &str| audit.iter().any(|(_, known, found)| known == what && found == outcome);
    assert!(has("GET /ui/sign-in", "done") && has("GET /ui/sign-in", "unauthorized"), "{audit:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_operator() {
    let server = Running::start().await;
    let vera = server.operator("vera", "viewer", json!({})).await;
    let mut browser = Browser::new(&server);
    browser.sign_in(vera.token.as_deref().unwrap()).await.leads_to("/ui/");
    let page = browser.get("/ui/").await;
    assert!(page.body.contains("vera <span class=\"badge\">viewer</span>"), "{}", page.body);
    assert!(!page.body.contains("/ui/freeze"), "a viewer is not offered what it may not do");
    let refused = browser.post("/ui/freeze", "why=x").await;
    assert!(refused.status == 403 && refused.body.contains("needs the role applier"), "{refused:?}");
    let mut events = browser.with_headers("").events("/ui/live/events").await;
    events.named("snapshot").await;
    assert_eq!(server.api().delete("/v1/operators/vera").await.status, 200);
    while events.next().await.is_some() {}
    assert_eq!(browser.get("/ui/").await.status, 303);
    let unsaid = browser.post("/ui/freeze", "why=x").await;
    assert!(unsaid.status == 401 && unsaid.body.contains("nothing was changed"), "{unsaid:?}");
    server.stop().await;
}
