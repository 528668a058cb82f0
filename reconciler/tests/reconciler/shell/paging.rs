//! Long lists are read page by page, and each page knows how long the list is.

use serde_json::{Value, json};

use super::Running;

/// Two edges with three rules each.
const FLEET: &str = "[[edge]]\nname = \"ams-1\"\nlabels = { region = \"ams\" }\n\n[[edge]]\nname = \"fra-1\"\n\n\
    [defaults]\nedges = [\"*\"]\n\n\
    [[rule]]\nname = \"a\"\nlisten_port = 1080\ntarget = \"10.0.0.1:80\"\n\n\
    [[rule]]\nname = \"b\"\nlisten_port = 1081\ntarget = \"10.0.0.1:81\"\n\n\
    [[rule]]\nname = \"c\"\nlisten_port = 1082\ntarget = \"10.0.0.1:82\"\n";

async fn fleet() -> Running {
    let server = Running::start().await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": FLEET }], "allow_offline": true, "allowances": { "dirty": true } });
    let begun = server.api().post("/v1/apply", &tree).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    server
}

#[tokio::test]
async fn rules_are_read_page_by_page() {
    let server = fleet().await;
    let page = async |query: &str| {
        let answer = server.api().get(&format!("/v1/rules{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let rows: Vec<Value> = answer.json();
        let names = rows.iter().map(|row| {
            format!("{}/{}", row["edge"].as_str().unwrap_or_default(), row["rule"].as_str().unwrap_or_default())
        });
        (names.collect::<Vec<_>>().join(" "), answer.head.lines().find_map(total))
    };
    assert_eq!(page("").await, ("ams-1/a ams-1/b ams-1/c fra-1/a fra-1/b fra-1/c".to_owned(), Some(6)));
    assert_eq!(page("?limit=4").await, ("ams-1/a ams-1/b ams-1/c fra-1/a".to_owned(), Some(6)));
    assert_eq!(page("?limit=4&offset=4").await, ("fra-1/b fra-1/c".to_owned(), Some(6)));
    assert_eq!(page("?offset=6").await, (String::new(), Some(6)));
    assert_eq!(page("?edge=fra-*&limit=1&offset=1").await, ("fra-1/b".to_owned(), Some(3)));
    assert_eq!(page("?label=region%3Dams&rule=c").await, ("ams-1/c".to_owned(), Some(1)));
    server.api().get("/v1/rules?edge=nyc-*&offset=1").await.is_problem(404, "not_found");
    server.api().get("/v1/rules?offset=-1").await.is_problem(400, "bad_request");
    server.api().get("/v1/status?offset=1").await.is_problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn edges_are_selected_and_their_rules_counted() {
    let server = fleet().await;
    let answer = server.api().get("/v1/edges?summary=true&limit=1&offset=1").await;
    let edges: Value = answer.json();
    assert_eq!(edges.as_array().map(Vec::len), Some(1));
    assert_eq!(edges[0]["name"], json!("fra-1"));
    assert_eq!(edges[0]["rules"], json!([]));
    assert_eq!((&edges[0]["summary"]["rules"], &edges[0]["summary"]["unknown"]), (&json!(3), &json!(3)));
    assert_eq!(answer.head.lines().find_map(total), Some(2));
    let whole: Value = server.api().get("/v1/edges?label=region%3Dams").await.json();
    assert_eq!(whole[0]["labels"], json!({ "region": "ams" }));
    assert_eq!(whole[0]["rules"].as_array().map(Vec::len), Some(3));
    assert_eq!(whole[0]["summary"], Value::Null);
    server.api().get("/v1/edges?state=connected").await.is_problem(404, "not_found");
    server.api().get("/v1/edges?state=asleep").await.is_problem(400, "bad_request");
    // What a limited operator may not see is on no page, and in no total.
    let limited = server.operator("ams", "viewer", json!({ "edges": ["ams-*"] })).await;
    let answer = limited.get("/v1/edges?limit=5").await;
    assert_eq!((answer.head.lines().find_map(total), answer.json::<Vec<Value>>().len()), (Some(1), 1));
    assert!(answer.head.contains("x-portunus-hidden: 3"), "{}", answer.head);
    server.stop().await;
}

#[tokio::test]
async fn a_status_of_one_edge_is_that_of_the_whole_fleet_without_the_others() {
    let server = fleet().await;
    let whole: Value = server.api().get("/v1/status").await.json();
    let one: Value = server.api().get("/v1/status?edge=fra-1&rule=b").await.json();
    let edges = whole["edges"].as_array().expect("edges");
    let rule = |edge: &Value| {
        edge["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["rule"] == "b")).cloned()
    };
    assert_eq!(one["edges"][0]["rules"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["edges"][0]["rules"][0], rule(&edges[1]).expect("the rule"));
    assert_eq!(one["targets"]["all"], json!(1));
    assert_eq!(one["revision"], whole["revision"]);
    server.stop().await;
}

fn total(line: &str) -> Option<u64> {
    line.strip_prefix("x-portunus-total: ")?.parse().ok()
}
