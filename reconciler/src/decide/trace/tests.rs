//! What tracing promises, case by case.

use schema::access::Access;
use schema::name::RuleName;
use schema::net::PortRange;
use schema::rule::{Host, ProxyProtocol, RuleParts};
use schema::testing::rule_with;

use super::*;

fn traced(name: &str, first: u16, last: u16, change: impl FnOnce(&mut RuleParts)) -> TracedRule {
    let origin = Some(Origin { file: "a.toml".into(), line: 7, column: 1 });
    TracedRule {
        rule: rule_with(name, first, last, change),
        origin,
        targets: Vec::new(),
        lines: KeyLines::new(),
        owner: None,
    }
}

fn question(port: u16, name: Option<&str>) -> TraceQuestion {
    TraceQuestion {
        edge: EdgeName::local(),
        from: "10.1.2.3".parse().expect("an address"),
        protocol: Protocol::Tcp,
        port,
        listen_address: None,
        server_name: name.map(|name| ServerName::parse(name).expect("a name")),
    }
}

fn named(name: &str, names: &[&str]) -> TracedRule {
    traced(name, 443, 443, |parts| {
        parts.sni = names.iter().map(|name| ServerName::parse(name).expect("a name")).collect();
    })
}

#[test]
fn a_connection_finds_its_rule_and_the_port_that_matches() {
    let rules = [traced("range", 1000, 1009, |parts| parts.targets[0].proxy_protocol = Some(ProxyProtocol::V2))];
    let found = trace(&rules, &question(1003, None)).expect("one listener");
    assert_eq!((found.forwarded, found.listener.as_deref()), (true, Some("*:1003")));
    assert_eq!(found.rule.as_ref().map(RuleName::as_str), Some("range"));
    assert_eq!(found.dial_order[0].target, "127.0.0.1:1013");
    assert_eq!(found.proxy_protocol.as_deref(), Some("v2"));
    assert_eq!(found.place, Some(TracePlace { file: "a.toml".into(), line: 7 }));
    let nobody = trace(&rules, &question(1010, None)).expect("no listener");
    assert_eq!((nobody.forwarded, nobody.refused.as_str(), nobody.listener), (false, "no_listener", None));
    let udp = TraceQuestion { protocol: Protocol::Udp, ..question(1003, None) };
    assert_eq!(trace(&rules, &udp).expect("no listener").refused, "no_listener");
}

#[test]
fn an_exact_name_wins_over_a_wildcard_and_that_over_the_fallback() {
    let mut rules = vec![named("wild", &["*.example.org"]), named("exact", &["www.example.org", "b.example"])];
    let rule = |rules: &[TracedRule], name: Option<&str>| {
        let found = trace(rules, &question(443, name)).expect("one listener");
        let matched = found.sni.map(|sni| sni.matched);
        (found.rule.map(|rule| rule.to_string()), matched, found.refused)
    };
    let hit = |name: &str, how: &str| (Some(name.to_owned()), Some(how.to_owned()), String::new());
    let miss = |why: &str| (None, None, why.to_owned());
    assert_eq!(rule(&rules, Some("WWW.example.org.")), hit("exact", "exact"));
    assert_eq!(rule(&rules, Some("api.example.org")), hit("wild", "wildcard"));
    assert_eq!(rule(&rules, Some("a.api.example.org")), miss("no_match"));
    assert_eq!(rule(&rules, Some("example.org")), miss("no_match"));
    assert_eq!(rule(&rules, None), miss("no_name"));
    rules.push(named("rest", &[]));
    assert_eq!(rule(&rules, Some("a.api.example.org")), hit("rest", "fallback"));
    assert_eq!(rule(&rules, None), hit("rest", "fallback"));
}

#[test]
fn access_names_the_list_the_network_and_its_line_and_observing_refuses_nobody() {
    let access = |allow: &[&str], deny: &[&str], mode| {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        let access = Access { allow: list(allow), deny: list(deny), mode, ..Access::default() };
        let mut rule = traced("web", 443, 443, |parts| parts.access = Some(Box::new(access)));
        rule.lines.insert("access.deny[10.1.0.0/16]".to_owned(), 12);
        let found = trace(&[rule], &question(443, None)).expect("one listener");
        let access = found.access.expect("the rule has lists");
        (found.refused, access.admitted, access.list, access.network, access.place.map(|place| place.line))
    };
    let (enforce, observe) = (Enforcement::Enforce, Enforcement::Observe);
    let network = |text: &str| Some(text.to_owned());
    assert_eq!(
        access(&["10.0.0.0/8"], &["10.1.0.0/16"], enforce),
        ("access".to_owned(), false, "deny".to_owned(), network("10.1.0.0/16"), Some(12))
    );
    assert_eq!(
        access(&["10.0.0.0/8"], &["10.1.0.0/16"], observe),
        (String::new(), false, "deny".to_owned(), network("10.1.0.0/16"), Some(12))
    );
    assert_eq!(
        access(&["10.0.0.0/8", "10.1.2.0/24"], &[], enforce),
        (String::new(), true, "allow".to_owned(), network("10.1.2.0/24"), Some(7))
    );
    assert_eq!(access(&["192.0.2.1"], &[], enforce), ("access".to_owned(), false, "default".to_owned(), None, Some(7)));
}

#[test]
fn targets_are_dialled_as_the_edge_would_dial_them() {
    let mut rule = traced("web", 443, 443, |parts| {
        let target = |host: &str, priority| Target {
            priority,
            ..Target::new(Host::parse(host).expect("a host"), PortRange::single(80).expect("a port"))
        };
        parts.targets = vec![target("backup", 1), target("one", 0), target("two", 0)];
    });
    let order = |rule: &TracedRule| {
        let found = trace(std::slice::from_ref(rule), &question(443, None)).expect("one listener");
        let targets: Vec<String> = found.dial_order.into_iter().map(|target| target.target).collect();
        (found.pool.and_then(|pool| pool.priority), targets, found.refused)
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(order(&rule).1, texts(&["one:80", "two:80", "backup:80"]));
    let seen = |name: &str, state: &str, weight: u32| -> TargetView {
        serde_json::from_value(serde_json::json!({ "target": name, "state": state, "weight": weight })).expect("a view")
    };
    rule.targets = vec![seen("backup:80", "up", 100), seen("one:80", "down", 100), seen("two:80", "up", 100)];
    assert_eq!(order(&rule), (Some(0), texts(&["two:80", "backup:80", "one:80"]), String::new()));
    rule.targets = ["backup:80", "one:80", "two:80"].map(|name| seen(name, "disabled", 100)).to_vec();
    assert_eq!(order(&rule), (None, vec![], "no_target".to_owned()));
}

#[test]
fn limits_are_shown_with_those_of_the_owner_first() {
    let spec = serde_json::json!({ "name": "web", "listen_port": 1, "target": "a:2", "owner": "team", "max_connections": 9,
        "rate_limit": { "new_connections_per_sec": 5, "per_source": { "connections": 2 } },
        "owner_limits": { "quota": { "bytes": 7 } } });
    let rule = Arc::new(spec::from_json(&spec).expect("a rule"));
    let rule = TracedRule { rule, origin: None, targets: Vec::new(), lines: KeyLines::new(), owner: None };
    let found = trace(&[rule], &question(1, None)).expect("one listener");
    let keys: Vec<&str> = found.limits.iter().map(|limit| limit.key.as_str()).collect();
    assert_eq!(keys[0], "owner.quota.bytes");
    for key in ["max_connections", "rate_limit.new_connections_per_sec", "rate_limit.per_source.connections"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    assert_eq!(found.place, None);
}

#[test]
fn several_addresses_on_a_port_are_asked_back() {
    let on = |name: &str, address: &str| {
        traced(name, 443, 443, |parts| parts.listen.address = ListenAddress::parse(address).expect("an address"))
    };
    let rules = [on("a", "10.0.0.1"), on("b", "10.0.0.2"), on("six", "::")];
    let error = trace(&rules, &question(443, None)).expect_err("two could be meant");
    assert!(error.to_string().contains("on 10.0.0.1, 10.0.0.2:"), "{error}");
    let one = TraceQuestion { listen_address: ListenAddress::parse("10.0.0.2"), ..question(443, None) };
    assert_eq!(trace(&rules, &one).expect("one listener").rule.map(|rule| rule.to_string()).as_deref(), Some("b"));
}
