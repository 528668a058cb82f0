//! Rules of upstream in several forms; what they become is shown by the goldens, what holds for all of them here.

use schema::ruleset::RuleSet;

use super::*;

fn read(text: &str) -> Imported {
    let input = SourceFile::new("dump.json", text);
    import(&[input], &EdgeName::local(), CheckLimits::default()).expect("it is JSON")
}

fn tree(imported: &Imported) -> RuleSet {
    let files = imported.files.iter().map(|file| SourceFile::new(&*file.path, &*file.text)).collect();
    check_tree(&TreeFiles { files, problems: Vec::new() }, &CheckLimits::default()).ruleset.expect("a valid tree")
}

fn kinds(imported: &Imported) -> Vec<(Kind, &str, &str)> {
    imported.findings.iter().map(|found| (found.kind, found.rule.as_str(), found.key.as_str())).collect()
}

#[test]
fn a_list_may_stand_alone_under_a_key_by_client_or_in_clients() {
    let rule = r#"{"name":"web","listen_port":80,"target_host":"a.example","target_port":81}"#;
    let of_client = r#"{"name":"web","client":"e1","listen_port":80,"target":"a.example:81"}"#;
    for text in [
        format!("[{of_client}]"),
        format!(r#"{{"rules":[{of_client}]}}"#),
        format!(r#"{{"rules":{{"e1":[{rule}]}}}}"#),
        format!(r#"{{"clients":[{{"name":"e1","rules":[{rule}]}}]}}"#),
        format!(r#"[{{"client_name":"e1","id":7,"rule":{rule}}}]"#),
    ] {
        let imported = read(&text);
        assert_eq!((imported.rules, imported.files[0].path.as_str()), (1, "e1.toml"), "{text}: {imported:?}");
        assert!(imported.is_complete(), "{text}: {:?}", imported.findings);
        let edge = EdgeName::new("e1").expect("a name");
        let tree = tree(&imported);
        let rule = &tree.edges[&edge].values().next().expect("one").rule;
        assert_eq!((rule.listen.to_string().as_str(), rule.targets.len()), ("*:80", 1), "{text}");
    }
}

#[test]
fn every_key_that_is_not_carried_over_is_named() {
    let imported = read(
        r#"[{"name":"web","listen_port":80,"target":"a:81","max_connections":-1,"owner":"w","bytes_in":3,"frobs":1,
            "rate_limit":{"x":1},"sni":null,"targets":[{"host":"a","port":81,"healthy":true,"zone":"b"}]}]"#,
    );
    let of = "local/web";
    assert_eq!(
        kinds(&imported),
        [
            (Kind::Ignored, of, "bytes_in"),
            (Kind::Dropped, of, "frobs"),
            (Kind::Dropped, of, "max_connections"),
            (Kind::Dropped, of, "rate_limit"),
            (Kind::Ignored, of, "targets[0].healthy"),
            (Kind::Dropped, of, "targets[0].zone"),
        ]
    );
    assert!(imported.files[0].text.contains("owner = \"w\""), "{}", imported.files[0].text);
    assert!(imported.findings[2].reason.contains("max_connections"), "{:?}", imported.findings[2]);
    assert_eq!((imported.findings[0].line, imported.findings[3].line), (1, 2));
}

#[test]
fn a_rule_without_listeners_or_targets_that_could_be_kept_is_dropped_as_a_whole() {
    let imported = read(
        r#"[{"name":"no-port","target":"a:1"},{"name":"no-target","listen_port":1},{"name":"zero","listen_port":0,"target":"a:1"},
            {"name":"widths","listen_ports":"10-19","target":"a:1"},{"name":"wide","listen_ports":"1000-9999","target":"a:1000-9999"},
            {"name":"first","listen_port":7,"target":"a:1"},{"name":"second","listen_port":7,"target":"a:2"},
            {"name":"half","listen_port":8,"target":"a:1","enabled":"maybe"},{"name":"off","listen_port":7,"target":"a:3","enabled":false},
            "text",3]"#,
    );
    assert_eq!(imported.findings.iter().filter(|found| found.kind == Kind::Dropped).count(), 9, "{imported:#?}");
    let names: Vec<String> = tree(&imported).edges[&EdgeName::local()].keys().map(ToString::to_string).collect();
    assert_eq!((names, imported.rules), (vec!["first".to_owned()], 2), "the disabled one may share a port");
    assert!(imported.findings.iter().any(|found| found.reason.contains("already belongs to local/first")));
}

#[test]
fn names_are_made_to_fit_and_stay_apart() {
    let imported = read(
        r#"[{"name":"Web Front","client":"Edge 1","listen_port":1,"target":"a:1"},{"name":"web-front","client":"Edge 1","listen_port":2,"target":"a:1"},
            {"id":12,"client":"portunus","listen_port":1,"target":"a:1"},{"name":"__","client":"portunus","listen_port":3,"target":"a:1"}]"#,
    );
    let paths: Vec<&str> = imported.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["edge-1.toml", "edge-portunus.toml"]);
    let tree = tree(&imported);
    let names: Vec<&str> = tree.edges.values().flat_map(|rules| rules.keys().map(RuleNameText::text)).collect();
    assert_eq!(names, ["web-front", "web-front-2", "rule", "rule-12"]);
    assert!(imported.is_complete() && imported.findings.iter().all(|found| found.kind == Kind::Changed));
}

/// A name as text, for a list of them.
trait RuleNameText {
    fn text(&self) -> &str;
}

impl RuleNameText for schema::name::RuleName {
    fn text(&self) -> &str {
        self.as_str()
    }
}

#[test]
fn ranges_and_headers_come_in_many_forms() {
    for (listen, expected) in [
        (r#""listen_port":30000,"listen_port_end":30009"#, "*:30000-30009"),
        (r#""listen_ports":"30000-30009""#, "*:30000-30009"),
        (r#""listen_range":{"start":30000,"end":30009}"#, "*:30000-30009"),
        (r#""listen_ports":[30000,30009]"#, "*:30000-30009"),
        (
            r#""protocol":"UDP","listen_addr":"0.0.0.0","listen_port":30000,"listen_port_end":30009"#,
            "0.0.0.0:30000-30009/udp",
        ),
    ] {
        let imported =
            read(&format!(r#"[{{"name":"r",{listen},"target_host":"a","target_port":1,"target_port_end":10}}]"#));
        let tree = tree(&imported);
        let rule = &tree.edges[&EdgeName::local()].values().next().expect("one").rule;
        assert_eq!(rule.listen.to_string(), expected, "{listen}");
    }
    for (header, expected) in [("\"V2\"", "\"v2\""), ("1", "\"v1\""), ("\"none\"", ""), ("false", "")] {
        let imported = read(&format!(r#"[{{"name":"r","listen_port":1,"target":"a:1","proxy_protocol":{header}}}]"#));
        assert!(imported.is_complete(), "{header}: {:?}", imported.findings);
        let text = &imported.files[0].text;
        assert_eq!(text.contains(&format!("proxy_protocol = {expected}")), !expected.is_empty(), "{header}: {text}");
    }
}

#[test]
fn keys_that_contradict_each_other_drop_the_rule_and_those_that_agree_do_not() {
    for (keys, is_kept) in [
        (r#""listen_port":80,"listen_ports":"80-89","target":"a:80-89""#, true),
        (r#""listen_port":81,"listen_ports":"80-89","target":"a:80-89""#, false),
        (r#""listen":"10.0.0.1:80","listen_port":80,"target":"a:1""#, true),
        (r#""listen":"10.0.0.1:80","listen_port":81,"target":"a:1""#, false),
        (r#""listen_addr":"10.0.0.1","listen_address":"10.0.0.2","listen_port":80,"target":"a:1""#, false),
        (r#""listen_port":80,"target":"a:1","targets":[{"host":"a","port":1},{"host":"b","port":1}]"#, true),
        (r#""listen_port":80,"target":"c:1","targets":[{"host":"a","port":1},{"host":"b","port":1}]"#, false),
        (r#""listen_port":80,"target_host":"c","target_port":1,"targets":[{"host":"a","port":1}]"#, false),
        (r#""listen_port":80,"target_port":2,"target":"a:1""#, false),
        (r#""listen_port":80,"target":"a:1","rule":{"listen_port":81}"#, false),
        (r#""listen_port":80,"targets":[{"host":"a","address":"b","port":1}]"#, false),
    ] {
        let imported = read(&format!(r#"[{{"name":"r",{keys}}}]"#));
        assert_eq!(
            (imported.rules == 1, imported.is_complete()),
            (is_kept, is_kept),
            "{keys}: {:?}",
            imported.findings
        );
    }
}

#[test]
fn only_what_cannot_matter_is_ignored() {
    for (text, kind) in [
        (r#"{"version":3,"rules":[RULE]}"#, Kind::Ignored),
        (r#"{"overrides":{"enabled":false},"rules":[RULE]}"#, Kind::Dropped),
        (r#"{"clients":[{"name":"e","connected":true,"rules":[RULE]}]}"#, Kind::Ignored),
        (r#"{"clients":[{"name":"e","enabled":false,"rules":[RULE]}]}"#, Kind::Dropped),
        (r#"[{"status":"active",KEYS}]"#, Kind::Ignored),
        (r#"[{"status":"disabled",KEYS}]"#, Kind::Dropped),
        (r#"[{"active":false,KEYS}]"#, Kind::Dropped),
        (r#"[{"health":{"up":true},KEYS}]"#, Kind::Ignored),
    ] {
        let keys = r#""name":"r","listen_port":80,"target":"a:1""#;
        let text = text.replace("RULE", &format!("{{{keys}}}")).replace("KEYS", keys);
        let imported = read(&text);
        let kinds: Vec<Kind> = imported.findings.iter().map(|found| found.kind).collect();
        assert_eq!((kinds, imported.rules), (vec![kind], 1), "{text}: {:?}", imported.findings);
    }
    let checked = read(r#"[{"health":{"interval_secs":7},"name":"r","listen_port":80,"target":"a:1"}]"#);
    assert!(checked.is_complete() && checked.files[0].text.contains("interval_secs = 7"), "{checked:?}");
}

#[test]
fn an_ipv6_host_may_have_its_brackets() {
    let rule = r#""name":"r","listen_port":80"#;
    for target in [
        r#""target_host":"[2001:db8::2]","target_port":81"#,
        r#""targets":[{"host":"[2001:db8::2]","port":81}]"#,
        r#""targets":["[2001:db8::2]:81"]"#,
        r#""target":"[2001:db8::2]:81""#,
    ] {
        let imported = read(&format!("[{{{rule},{target}}}]"));
        assert!(imported.is_complete(), "{target}: {:?}", imported.findings);
        assert!(imported.files[0].text.contains("target = \"[2001:db8::2]:81\""), "{}", imported.files[0].text);
    }
}

#[test]
fn what_holds_no_rules_says_so_and_what_is_cut_is_an_error() {
    for text in ["{}", "[]", "\"text\"", "3", "{\"rule\":3}"] {
        assert_eq!(read(text).rules, 0, "{text}");
    }
    assert!(!read("{}").is_complete());
    let cut = SourceFile::new("dump.json", "[{\"name\":");
    let errors = import(&[cut], &EdgeName::local(), CheckLimits::default()).expect_err("it is cut");
    assert_eq!(&*errors[0].path, "dump.json");
    let more = read(r#"{"rules":[{"name":"a","listen_port":1,"target":"a:1"}],"next":"x"}"#);
    assert!(!more.is_complete(), "the rest is missing");
}

#[test]
fn twice_the_rules_take_about_twice_the_time() {
    use std::time::{Duration, Instant};

    // As bad as it gets: one edge, one name, and ports on addresses of their own.
    let dump = |count: usize| {
        let rule = |n: usize| {
            let (address, port) = (format!("10.0.{}.{}", n / 200, n % 200 + 1), 1000 + n % 7);
            format!(r#"{{"name":"web","client":"E 1","listen":"{address}:{port}","target":"a.example:{port}"}}"#)
        };
        format!("[{}]", (0..count).map(rule).collect::<Vec<_>>().join(","))
    };
    let shortest = |text: &str| {
        let time = || {
            let began = Instant::now();
            read(text);
            began.elapsed()
        };
        (0..3).map(|_| time()).min().unwrap_or(Duration::MAX)
    };
    // Linear work takes 8 times as long, quadratic 64 times; a machine that is busy with something else takes longer.
    let (few, many) = (dump(500), dump(4000));
    let (short, long) = (shortest(&few), shortest(&many));
    assert!(long < short * 24, "{short:?} for 500 rules, {long:?} for 4000");
}

#[test]
fn findings_are_counted_beyond_a_thousand_of_each_kind() {
    let rules: Vec<String> =
        (0..3000).map(|number| format!("{{\"name\": \"r{number}\", \"listen_port\": 0}}")).collect();
    let file = SourceFile::new("a.json", format!("[{}]", rules.join(",")));
    let imported = import(&[file], &EdgeName::local(), CheckLimits::default()).expect("JSON");
    assert!(!imported.is_complete());
    let kept = imported.findings.iter().filter(|found| found.kind == Kind::Dropped).count();
    assert_eq!(kept, schema::findings::MAX_FINDINGS);
    assert!(imported.number(Kind::Dropped) >= 3000, "{}", imported.number(Kind::Dropped));
}

#[test]
fn rules_that_upstream_chooses_by_server_name_share_their_port() {
    let imported = read(
        r#"[{"name":"a","listen_port":443,"target":"x:1","sni_pattern":"A.example.org"},
            {"name":"b","listen_port":443,"target":"x:2","sni_pattern":"*.example.org"},
            {"name":"rest","listen_port":443,"target":"x:3","sni_pattern":null},
            {"name":"again","listen_port":443,"target":"x:4","sni_pattern":"a.example.org."},
            {"name":"second","listen_port":443,"target":"x:5"},
            {"name":"odd","listen_port":444,"target":"x:6","sni_pattern":"*.org"}]"#,
    );
    let of = |name: &str| format!("local/{name}");
    let dropped: Vec<_> = imported.findings.iter().map(|found| (found.kind, found.rule.clone())).collect();
    assert_eq!(dropped, ["again", "second", "odd"].map(|name| (Kind::Dropped, of(name))), "{imported:#?}");
    let tree = tree(&imported);
    let rules = &tree.edges[&EdgeName::local()];
    let names: Vec<_> =
        rules.values().map(|placed| placed.rule.sni.iter().map(ToString::to_string).collect::<Vec<_>>()).collect();
    assert_eq!(names, [vec!["a.example.org".to_owned()], vec!["*.example.org".to_owned()], vec![]]);
}

#[test]
fn rate_limits_and_the_limits_of_owners_are_carried_over() {
    let imported = read(
        r#"{"rules":[{"name":"a","listen_port":80,"target":"x:1","owner_user_id":"alice",
             "rate_limit":{"bandwidth_out_bps":1000,"concurrent_connections":7,"new_connections_per_sec":5}}],
            "owner_rate_limits":[{"client_name":"e1","owner_id":"alice","updated_at_unix_ms":5,
               "rate_limit":{"bandwidth_in_bps":9,"concurrent_connections":3}},
              {"client_name":"e2","owner_id":"alice","rate_limit":{"bandwidth_in_bps":8}}],
            "quotas":[{"user_id":"alice","monthly_bytes":500,"billing_anchor":1705312800,"exhausted":false},
              {"user_id":"bob","monthly_bytes":0}]}"#,
    );
    let tree = tree(&imported);
    let rule = &tree.edges[&EdgeName::local()].values().next().expect("one").rule;
    let rate = rule.rate_limit.as_deref().expect("it has limits");
    assert_eq!((rate.bandwidth_out.map(u64::from), rate.new_connections.map(u32::from)), (Some(1000), Some(5)));
    assert_eq!(rule.max_connections.map(u32::from), Some(7));
    let owner = rule.owner_limits.as_deref().expect("alice has limits");
    assert_eq!(owner.rate_limit.as_ref().and_then(|rate| rate.bandwidth_in).map(u64::from), Some(9));
    assert_eq!(owner.quota.as_ref().map(|quota| (quota.bytes.get(), quota.anchor_day)), Some((500, 15)));
    let dropped: Vec<_> = imported.findings.iter().filter(|found| found.kind == Kind::Dropped).collect();
    let keys: Vec<_> = dropped.iter().map(|found| (found.rule.as_str(), found.key.as_str())).collect();
    assert_eq!(
        keys,
        [("owner alice", "rate_limit.concurrent_connections"), ("owner alice", "rate_limit"), ("owner bob", "quota")],
        "{dropped:#?}"
    );
}

#[test]
fn the_limits_of_owners_of_a_valid_rule_file_stay() {
    let file = "[[owner]]\nname = \"team\"\nquota = { bytes = 7 }\n\n[[rule]]\nname = \"a\"\nowner = \"team\"\nlisten_port = 1\n\
                target = \"x:2\"\n";
    let input = SourceFile::new("a.toml", file);
    let imported = import(&[input], &EdgeName::local(), CheckLimits::default()).expect("it is TOML");
    assert!(imported.is_complete(), "{:?}", imported.findings);
    let tree = tree(&imported);
    assert!(tree.edges[&EdgeName::local()].values().next().expect("one").rule.owner_limits.is_some());
}
