//! Dashboards, alert rules and the page of metrics speak of series and labels that real processes serve.

mod promql;
mod series;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use self::series::{Scrape, add, missing, page};
use crate::peers::{Client, Echo};
use crate::support::{World, ports, rule, skip, wait_for, wait_until};

fn contrib(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(folder)
}

/// Rules that use everything that is counted.
fn rules(port: u16, echo: u16) -> String {
    let check = "[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";
    let quota =
        "quota = { bytes = 100000000, period = \"total\" }\nrate_limit = { bandwidth_in_bytes_per_sec = 100000000 }\n";
    let named = |name: &str, host: &str| rule("edge-01", name, port + 3, echo, &format!("sni = [\"{host}\"]\n"));
    rule("edge-01", "web", port, echo, &format!("owner = \"team-web\"\n{quota}{check}"))
        + &rule("edge-01", "mail", port + 1, ports(1), check)
        + &rule("edge-01", "dns", port + 2, echo, "protocol = \"udp\"\n")
        + &named("a", "a.example.org")
        + &named("b", "b.example.org")
}

/// What a server that follows a remote repository serves, and an edge with a log of connections.
fn scrape() -> Scrape {
    let world = World::new();
    let (echo, port, own) = (Echo::start(), ports(4), ports(1));
    world.git(&["init", "-q", "--bare", "-b", "main", &world.arg("remote.git")]);
    world.edit("rules.d/a.toml", rules(port, echo.port));
    world.git(&["push", "-q", &world.arg("remote.git"), "main"]);
    let (url, log) = (format!("file://{}", world.arg("remote.git")), world.arg("connections.log"));
    // A notifier whose receiver is not there.
    let notify = "[[notify]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n";
    let config = world.arg("server.toml");
    fs::write(&config, notify).unwrap();
    world.serve(&["--git", &url, "--path", "rules.d", "--interval", "1s", "--config", &config]);
    world.edge_with("edge-01", &["--metrics-listen", &format!("127.0.0.1:{own}"), "--connection-log", &log]);
    world.wait_status("the rules", |status| {
        status["targets"]["down"] == 1 && status["drift"].as_array().is_some_and(Vec::is_empty)
    });
    Client::to(port).ping(1, 0, 1000).unwrap();
    // An edge that is not let in any more.
    world.edge("edge-02");
    world.cli(&["edges", "revoke", "edge-02"]).exits(0);
    let mut scrape = Scrape::new();
    let text = wait_for("the figures of the edge", || {
        let text = World::scrape(world.metrics);
        let has = |series: &str| text.contains(&format!("\n{series}{{"));
        let is_whole = has("portunus_quota_bytes_used")
            && has("portunus_rule_bytes_in_total")
            && has("portunus_edge_refused_total");
        if is_whole { Ok(text) } else { Err(text) }
    });
    add(&mut scrape, &text, "server");
    add(&mut scrape, &World::scrape(own), "edge");
    scrape
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboards() -> Vec<(String, Value)> {
    let mut found: Vec<_> = fs::read_dir(contrib("grafana")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "json"));
    found.sort();
    assert!(found.len() >= 3, "{found:?}");
    found.iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), json(path))).collect()
}

/// The panels that ask something, each with its queries and their legends.
fn queries(dashboard: &Value) -> Vec<(String, String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .flat_map(|panel| {
            let title = panel["title"].as_str().unwrap().to_owned();
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| {
                let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
                (title.clone(), text("expr"), text("legendFormat"))
            })
        })
        .collect()
}

/// `label_values(SERIES, LABEL)` of a variable.
fn label_values(query: &str) -> (String, String) {
    let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    let (series, label) = inside.rsplit_once(',').unwrap();
    (series.trim().to_owned(), format!("{{{{{}}}}}", label.trim()))
}

fn alerts() -> Vec<Value> {
    let text = fs::read_to_string(contrib("prometheus").join("alerts.yml")).unwrap();
    let document: Value = serde_yaml::from_str(&text).unwrap();
    let groups = document["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_series_and_label_of_dashboards_and_alerts_exists_and_every_series_is_documented() {
    let scrape = scrape();
    let mut findings = Vec::new();
    for (file, dashboard) in dashboards() {
        for (title, expression, legend) in queries(&dashboard) {
            let missing = missing(&expression, &[&legend], &scrape);
            findings.extend(missing.into_iter().map(|what| format!("{file}, {title}: {what}")));
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if let Some(query) = variable["definition"].as_str() {
                let (series, label) = label_values(query);
                let missing = missing(&series, &[&label], &scrape);
                findings
                    .extend(missing.into_iter().map(|what| format!("{file}, variable {}: {what}", variable["name"])));
            }
        }
    }
    for alert in alerts() {
        let texts: Vec<&str> = ["summary", "description", "runbook"]
            .iter()
            .map(|key| alert["annotations"][key].as_str().unwrap())
            .collect();
        let missing = missing(alert["expr"].as_str().unwrap(), &texts, &scrape);
        findings.extend(missing.into_iter().map(|what| format!("{}: {what}", alert["alert"])));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));

    let (path, made) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"), page(&scrape));
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, made, "docs/metrics.md is old: run with PORTUNUS_UPDATE_GOLDEN=1");
}

#[test]
fn what_does_not_exist_is_found() {
    let mut scrape = Scrape::new();
    let text =
        "# HELP portunus_a_total A.\n# TYPE portunus_a_total counter\nportunus_a_total{rule=\"web\",state=\"up\"} 1\n";
    add(&mut scrape, text, "server");
    let of = |expression: &str, legend: &str| missing(expression, &[legend], &scrape).join("; ");
    assert_eq!(of("rate(portunus_a_total{state=\"up\"}[5m])", "{{rule}} at {{instance}}"), "");
    assert_eq!(of("portunus_b_total", ""), "there is no series portunus_b_total");
    assert_eq!(of("portunus_a_total{client=\"x\"}", ""), "portunus_a_total has no label client");
    assert_eq!(of("portunus_a_total{state=\"down\"}", ""), "portunus_a_total: state is never down");
    assert_eq!(of("sum by (owner) (portunus_a_total)", ""), "portunus_a_total has no label owner");
    assert_eq!(of("portunus_a_total", "{{ $labels.owner }}"), "portunus_a_total has no label owner");
    assert_eq!(of("node_load1", ""), "node_load1 is not a series of portunus; it reads no series");
    assert!(page(&scrape).contains("| `portunus_a_total` | server | counter | `rule`, `state` | A. |"));
}

#[test]
fn dashboards_have_a_source_to_choose_and_panels_that_do_not_overlap() {
    for (file, dashboard) in dashboards() {
        let variables: Vec<&str> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(variables[0], "datasource", "{file}");
        assert!(variables.contains(&"edge"), "{file}");
        let mut taken = std::collections::BTreeSet::new();
        let mut ids = std::collections::BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {}", panel["title"]);
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{file}: {}", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{file}: {} overlaps another panel", panel["title"]);
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{file}: {}",
                panel["title"]
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {}", panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {}", panel["title"]);
            }
        }
    }
}

/// `promtool` on files of a folder; `None` where it is not installed.
fn promtool(folder: &Path, args: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("promtool").args(args).current_dir(folder).output();
    let Ok(output) = output else {
        skip("`promtool` of Debian's prometheus is not installed");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn promtool_agrees_with_alerts_their_tests_and_the_scrape_config() {
    let folder = contrib("prometheus");
    for args in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "scrape.yml"],
    ] {
        let Some((is_good, text)) = promtool(&folder, args) else { return };
        assert!(is_good, "{args:?}: {text}");
    }
    // Every alert is seen to fire, and to stay silent.
    let tests: Value = serde_yaml::from_str(&fs::read_to_string(folder.join("alerts_test.yml")).unwrap()).unwrap();
    let cases: Vec<&Value> = tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    for alert in alerts() {
        let of_it = || cases.iter().filter(|case| case["alertname"] == alert["alert"]);
        let fires = of_it().filter(|case| case["exp_alerts"].as_array().is_some_and(|all| !all.is_empty())).count();
        assert!(
            fires > 0 && of_it().count() > fires,
            "{} has no test that fires, or none that stays silent",
            alert["alert"]
        );
        assert!(["critical", "warning", "info"].map(Value::from).contains(&alert["labels"]["severity"]), "{alert}");
    }
}

#[test]
fn promtool_reads_the_expressions_of_dashboards_and_refuses_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = Vec::new();
    for (file, dashboard) in dashboards() {
        for (number, (_, expression, _)) in queries(&dashboard).into_iter().enumerate() {
            let plain = expression
                .replace("$__rate_interval", "5m")
                .replace("$edge", ".*")
                .replace("$rule", ".*")
                .replace("$owner", ".*");
            let name = format!("{}:{number}", file.trim_end_matches(".json"));
            rules.push(serde_json::json!({"record": name, "expr": plain}));
        }
    }
    let check = |rules: &[Value]| {
        let document = serde_json::json!({"groups": [{"name": "all", "rules": rules}]});
        fs::write(folder.path().join("rules.yml"), document.to_string()).unwrap();
        promtool(folder.path(), &["check", "rules", "rules.yml"])
    };
    let Some((is_good, text)) = check(&rules) else { return };
    assert!(is_good, "{text}");
    let wrong = check(&[serde_json::json!({"record": "a:b", "expr": "sum by (client portunus_held"})]).unwrap();
    assert!(!wrong.0, "{}", wrong.1);
    // The tests of the alerts can fail as well: a changed threshold is noticed.
    let alerts = fs::read_to_string(contrib("prometheus").join("alerts.yml")).unwrap();
    fs::write(
        folder.path().join("alerts.yml"),
        alerts.replace("portunus_edge_connected == 0", "portunus_edge_connected == 7"),
    )
    .unwrap();
    fs::copy(contrib("prometheus").join("alerts_test.yml"), folder.path().join("alerts_test.yml")).unwrap();
    let broken = promtool(folder.path(), &["test", "rules", "alerts_test.yml"]).unwrap();
    assert!(!broken.0 && broken.1.contains("PortunusEdgeDisconnected"), "{}", broken.1);
}

#[test]
fn the_metrics_of_a_single_process_are_those_that_the_page_names() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(1));
    world.write("a.toml", rule("local", "web", port, echo.port, ""));
    world.up(&[&world.tree_arg(), "--allow-dirty"]);
    wait_until("the port", || crate::peers::answers(port) == Some(echo.port));
    let text = wait_for("the figures of the rule", || {
        let text = World::scrape(world.metrics);
        if text.contains("rule=\"web\"") { Ok(text) } else { Err(text) }
    });
    let mut scrape = Scrape::new();
    add(&mut scrape, &text, "server");
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    for (name, _) in scrape.iter().filter(|(_, series)| !series.help.is_empty()) {
        assert!(page.contains(&format!("| `{name}` |")), "docs/metrics.md does not name {name}");
    }
}
