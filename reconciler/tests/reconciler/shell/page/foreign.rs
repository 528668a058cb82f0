//! What other sites, hosts and origins could try.

use reconciler::act::guarded::Guards;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Browser, signed_in};
use crate::shell::Running;
use crate::shell::http::Client;

#[tokio::test]
async fn a_write_with_the_cookie_needs_an_origin_of_this_server() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    let foreign = ["origin: http://example.org\r\n", "origin: null\r\n", "origin: http://localhost:1\r\n", ""];
    for origin in foreign {
        let refused = browser.post_with("/ui/freeze", "why=csrf", origin).await;
        assert!(refused.status == 403 && refused.content_type().starts_with("text/html"), "{origin}: {refused:?}");
        let json = Client { content_type: Some("application/json"), ..browser.with_headers(origin) };
        json.post("/v1/freeze", &json!({ "why": "csrf" })).await.is_problem(403, "foreign_origin");
        json.delete("/v1/freeze").await.is_problem(403, "foreign_origin");
    }
    let status: Value = server.api().get("/v1/status").await.json();
    assert_eq!(status["frozen"], Value::Null);
    // By its own page it works, on the page and in the API.
    browser.post("/ui/freeze", "why=fair").await.leads_to("/ui/");
    let page = browser.get("/ui/").await;
    assert!(page.body.contains("The fleet is frozen.") && page.body.contains("fair"), "{}", page.body);
    assert!(!browser.get("/ui/").await.body.contains("The fleet is frozen."), "it is said once");
    let own = browser.own_origin();
    let json = Client { content_type: Some("application/json"), ..browser.with_headers(&own) };
    assert_eq!(json.delete("/v1/freeze").await.status, 200);
    // The cookie is as good as a token where nothing is changed.
    assert_eq!(browser.get("/v1/status").await.status, 200);
    let audit = server.audit().await;
    let count = |what: &str, outcome: &str| {
        audit.iter().filter(|(who, known, found)| who == "operator" && known == what && found == outcome).count()
    };
    assert_eq!(count("POST /v1/freeze", "done"), 1, "the page's form is the API's request: {audit:?}");
    assert_eq!(count("POST /ui/freeze", "foreign_origin"), 1, "the one without an origin");
    server.stop().await;
}

#[tokio::test]
async fn a_foreign_host_reaches_nothing_of_the_page() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    let rebound = Client { host: "example.org".to_owned(), ..browser.with_headers("") };
    for path in ["/", "/ui/", "/ui/sign-in", "/ui/assets/x"] {
        let refused = rebound.get(path).await;
        assert!(refused.status == 403 && !refused.body.contains("operator <span"), "{path}: {refused:?}");
    }
    let local = format!("localhost:{}", server.operator.port());
    let by_name = Client { host: local, ..browser.with_headers("") };
    assert_eq!(by_name.get("/ui/").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn after_the_sign_in_a_browser_stays_on_this_server() {
    let server = Running::start().await;
    let browser = Browser::new(&server);
    for (wanted, place) in [
        ("%2Fui%2Fnone%3Fa%3Db", "/ui/none?a=b"),
        ("https%3A%2F%2Fexample.org%2Fui%2F", "/ui/"),
        ("%2F%2Fexample.org%2Fui%2F", "/ui/"),
        ("%2F%5Cexample.org", "/ui/"),
        ("%2Fui%2F..%2Fv1%2Fbackup", "/ui/"),
    ] {
        let answer = browser.post("/ui/sign-in", &format!("to={wanted}&token={}", server.token)).await;
        answer.leads_to(place);
    }
    // Who is signed in already is led there at once.
    let browser = signed_in(&server).await;
    browser.get("/ui/sign-in?to=%2Fui%2Fnone").await.leads_to("/ui/none");
    browser.get("/ui/sign-in?to=https%3A%2F%2Fexample.org").await.leads_to("/ui/");
    server.stop().await;
}

#[tokio::test]
async fn a_link_on_another_site_leads_to_the_page_although_the_cookie_is_strict() {
    let server = Running::start().await;
    let browser = Browser::new(&server);
    let from_elsewhere = browser.with_headers("sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n");
    let answer = from_elsewhere.get("/ui/rules?q=%22%3E%3Cscript%3E").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("http-equiv=\"refresh\" content=\"0; url=/ui/rules?q=%22%3E%3Cscript%3E\""),
        "{answer:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_reverse_proxy_speaks_by_the_name_that_the_operator_gave() {
    let dir = TempDir::new().unwrap();
    let named = |config: &mut reconciler::act::server::ServerConfig| {
        config.operator.hosts = vec!["portunus.example.org".to_owned()];
    };
    let server = Running::start_as(dir, Guards::within(1024), named).await;
    let mut browser = Browser::new(&server);
    browser.client.host = "portunus.example.org".to_owned();
    let form = format!("token={}", server.token);
    for foreign in
        ["http://example.org", "https://portunus.example.org.example.org", "https://portunus.example.org:8443"]
    {
        let refused = browser.post_with("/ui/sign-in", &form, &format!("origin: {foreign}\r\n")).await;
        assert_eq!(refused.status, 403, "{foreign}: {refused:?}");
    }
    let answer = browser.post_with("/ui/sign-in", &form, "origin: https://portunus.example.org\r\n").await;
    answer.leads_to("/ui/");
    assert!(answer.header("set-cookie").is_some_and(|cookie| cookie.ends_with("; secure")), "{answer:?}");
    browser.cookie = answer.cookie();
    assert_eq!(browser.get("/ui/").await.status, 200);
    let frozen = browser.post_with("/ui/freeze", "why=x", "origin: https://portunus.example.org\r\n").await;
    frozen.leads_to("/ui/");
    // The API answers to the name as well.
    let api = Client { host: "portunus.example.org".to_owned(), ..server.api() };
    assert_eq!(api.get("/v1/status").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn over_tls_the_cookie_is_for_this_host_and_for_tls_only() {
    let dir = TempDir::new().unwrap();
    let everywhere = |config: &mut reconciler::act::server::ServerConfig| {
        config.operator.listen = vec!["0.0.0.0:0".parse().unwrap()];
    };
    let server = Running::start_as(dir, Guards::within(1024), everywhere).await;
    let client = reqwest::Client::builder();
    let client = client.tls_danger_accept_invalid_certs(true).redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let origin = format!("https://127.0.0.1:{}", server.operator.port());
    let form = |token: &str| {
        let request = client.post(format!("{origin}/ui/sign-in")).header("origin", origin.clone());
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={token}"))
    };
    assert_eq!(form("wrong").send().await.unwrap().status(), 401);
    let answer = form(&server.token).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-portunus-") && cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let page = client.get(format!("{origin}/ui/")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    // A page of plain HTTP on the same host is a foreign one.
    let plain = origin.replace("https", "http");
    let foreign = client.post(format!("{origin}/ui/freeze")).header("cookie", cookie).header("origin", plain);
    let foreign = foreign.header("content-type", "application/x-www-form-urlencoded").body("why=x");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    server.stop().await;
}
