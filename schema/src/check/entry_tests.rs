//! What the checks of names, networks, limits, quotas and owners promise, case by case. Kept apart from the other tests of
//! checking for their size.

use super::*;
use crate::quota::TimeZoneName;

const WEB: &str = "[[rule]]\nname = \"web\"\nlisten_port = 443\ntarget = \"10.0.0.5:443\"\n";

fn check(files: &[(&str, &str)]) -> Checked {
    let files = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
    check_tree(&TreeFiles { files, problems: Vec::new() }, &CheckLimits::default())
}

/// Code, file, line and column of everything found.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let one = |diagnostic: &Diagnostic| match diagnostic.position() {
        Some(at) => format!("{} {}:{}:{}", diagnostic.code, diagnostic.path, at.line, at.column),
        None => diagnostic.code.to_string(),
    };
    check(files).diagnostics.iter().map(one).collect()
}

fn rules(files: &[(&str, &str)]) -> Vec<Arc<Rule>> {
    let checked = check(files);
    assert_eq!(checked.diagnostics, [], "the tree is meant to be valid");
    let set = checked.ruleset.expect("no error, so there is a rule set");
    set.edges.into_values().flat_map(BTreeMap::into_values).map(|placed| placed.rule).collect()
}

fn sni(name: &str, names: &str) -> String {
    WEB.replace("\"web\"", &format!("\"{name}\"")) + &format!("sni = [{names}]\n")
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let text = WEB.to_owned()
        + r#"owner = "team-web"
sni = ["www.example.org", "*.Shop.example.org."]
accept_proxy = ["10.1.0.0/16"]
[rule.access]
allow = ["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.7"]
deny = ["10.9.0.0/16"]
mode = "enforce"
live = "keep"
[rule.rate_limit]
bandwidth_in_bytes_per_sec = 10485760
new_connections_per_sec = 200
per_source = { connections = 20, new_connections_per_sec = 5, new_connections_burst = 5, prefix_v4 = 32, prefix_v6 = 64 }
mode = "enforce"
[rule.quota]
bytes = 1000000000000
period = "month"
anchor_day = 31
time_zone = "europe/berlin"
on_exhausted = "throttle"
throttle_bytes_per_sec = 1000
[[owner]]
name = "team-web"
rate_limit = { bandwidth_out_bytes_per_sec = 125000000 }
quota = { bytes = 5000000000000, period = "month" }
"#;
    let rules = rules(&[("a.toml", &text)]);
    let rule = &rules[0];
    let names: Vec<&str> = rule.sni.iter().map(crate::sni::ServerName::as_str).collect();
    assert_eq!(names, ["*.shop.example.org", "www.example.org"]);
    let access = rule.access.as_deref().expect("it has lists");
    assert!(access.admits("192.0.2.7".parse().expect("an address")));
    let quota = rule.quota.as_deref().expect("it has a quota");
    assert_eq!(quota.time_zone.as_str(), "Europe/Berlin");
    let owner = rule.owner_limits.as_deref().expect("its owner has limits");
    assert_eq!(owner.quota.as_ref().map(|quota| quota.time_zone), TimeZoneName::parse("UTC"));
}

#[test]
fn a_wrong_name_network_zone_or_number_has_its_place() {
    let cases = [
        ("sni = [\"a.example\", \"*.example\"]", "invalid_value a.toml:5:21"),
        ("sni = [\"10.0.0.1\"]", "invalid_value a.toml:5:8"),
        ("sni = []", "out_of_range a.toml:5:7"),
        ("sni = \"a.example\"", "wrong_type a.toml:5:7"),
        ("sni = [\"a.example\", \"A.example.\"]", "port_clash a.toml:5:21"),
        ("sni_timeout_ms = 0", "out_of_range a.toml:5:18"),
        ("accept_proxy = [\"10.1.0.0/33\"]", "invalid_value a.toml:5:17"),
        ("access = { allow = [\"10.0.0.0/8\", \"10.0.0.1/8\"] }", "invalid_value a.toml:5:35"),
        ("access = { allow = [] }", "out_of_range a.toml:5:20"),
        ("access = { mode = \"observe\" }", "missing_key a.toml:5:10"),
        ("access = { alow = [\"10.0.0.1\"] }", "unknown_key a.toml:5:12"),
        ("rate_limit = { new_connections_per_sec = 0 }", "out_of_range a.toml:5:42"),
        ("rate_limit = { new_connections_burst = 9, bandwidth_in_bytes_per_sec = 9 }", "not_applicable a.toml:5:40"),
        ("rate_limit = { mode = \"observe\" }", "missing_key a.toml:5:14"),
        ("rate_limit = { per_source = { prefix_v4 = 24 } }", "missing_key a.toml:5:16"),
        ("rate_limit = { per_source = { connections = 1, prefix_v6 = 129 } }", "out_of_range a.toml:5:60"),
        ("quota = { period = \"day\" }", "missing_key a.toml:5:9"),
        ("quota = { bytes = 1, period = \"year\" }", "invalid_value a.toml:5:31"),
        ("quota = { bytes = 1, time_zone = \"Europe/Berln\" }", "invalid_value a.toml:5:34"),
        ("quota = { bytes = 1, period = \"day\", anchor_day = 3 }", "not_applicable a.toml:5:51"),
        ("quota = { bytes = 1, on_exhausted = \"throttle\" }", "missing_key a.toml:5:1"),
        ("quota = { bytes = 1, throttle_bytes_per_sec = 1 }", "not_applicable a.toml:5:47"),
        ("owner_limits = {}", "unknown_key a.toml:5:1"),
    ];
    for (line, expected) in cases {
        assert_eq!(found(&[("a.toml", &format!("{WEB}{line}\n"))]), [expected], "{line}");
    }
    let many = (0..65).map(|number| format!("\"n{number}.example\"")).collect::<Vec<_>>().join(", ");
    assert_eq!(found(&[("a.toml", &sni("web", &many))]), ["out_of_range a.toml:5:7"]);
}

#[test]
fn an_empty_table_sets_nothing_and_overrides_defaults() {
    let defaults = "[defaults]\naccess = { deny = [\"10.0.0.1\"] }\nrate_limit = { new_connections_per_sec = 1 }\n\
                    quota = { bytes = 1 }\n";
    let inherited = rules(&[("a.toml", &format!("{defaults}{WEB}"))]);
    assert!(inherited[0].access.is_some() && inherited[0].rate_limit.is_some() && inherited[0].quota.is_some());
    let own = rules(&[("a.toml", &format!("{defaults}{WEB}access = {{}}\nrate_limit = {{}}\nquota = {{}}\n"))]);
    assert!(own[0].access.is_none() && own[0].rate_limit.is_none() && own[0].quota.is_none());
}

#[test]
fn keys_for_tcp_do_not_concern_udp_and_names_do_not_concern_ranges() {
    let udp = WEB.to_owned() + "protocol = \"udp\"\n";
    assert_eq!(found(&[("a.toml", &(udp.clone() + "sni = [\"a.example\"]\n"))]), ["not_applicable a.toml:6:1"]);
    assert_eq!(found(&[("a.toml", &(udp.clone() + "accept_proxy = [\"10.0.0.1\"]\n"))]), ["not_applicable a.toml:6:1"]);
    let limits = "access = { deny = [\"10.0.0.1\"] }\nrate_limit = { per_source = { connections = 1 } }\n";
    rules(&[("a.toml", &(udp + limits))]);
    let range = WEB.replace("listen_port = 443", "listen_ports = \"443-444\"").replace(":443", ":443-444");
    assert_eq!(found(&[("a.toml", &(range + "sni = [\"a.example\"]\n"))]), ["not_applicable a.toml:5:7"]);
}

#[test]
fn rules_with_names_share_a_port_with_each_other_and_one_without() {
    let shared =
        sni("a", "\"a.example\"") + &sni("b", "\"*.b.example\", \"b.example\"") + &WEB.replace("web", "fallback");
    assert_eq!(rules(&[("a.toml", &shared)]).len(), 3);
    let second = shared.clone() + &WEB.replace("web", "second");
    assert_eq!(found(&[("a.toml", &second)]), ["port_clash a.toml:17:15"]);
    let elsewhere = shared + &WEB.replace("web", "wide").replace("target", "listen_address = \"0.0.0.0\"\ntarget");
    assert_eq!(found(&[("a.toml", &elsewhere)]), ["port_clash a.toml:17:15"]);
}

#[test]
fn the_fallback_of_a_port_may_be_a_range() {
    let range = |name: &str, ports: &str| {
        let web = WEB.replace("web", name).replace("listen_port = 443", &format!("listen_ports = \"{ports}\""));
        web.replace(":443", &format!(":{ports}"))
    };
    let shared = sni("a", "\"a.example\"") + &sni("b", "\"b.example\"") + &range("others", "440-450");
    assert_eq!(rules(&[("a.toml", &shared)]).len(), 3);
    // A second one, a plain port within it, and one that expects other headers.
    assert_eq!(found(&[("a.toml", &(shared.clone() + &range("second", "443-460")))]), ["port_clash a.toml:17:16"]);
    assert_eq!(found(&[("a.toml", &(shared.clone() + &range("wide", "1-1000")))]), ["port_clash a.toml:17:16"]);
    let proxied = shared + "accept_proxy = [\"10.1.0.0/16\"]\n";
    assert_eq!(found(&[("a.toml", &proxied)]), ["conflicting_keys a.toml:15:16"]);
    // A wide range before a narrow one covers what the narrow one does not.
    let text = range("wide", "400-500") + &range("narrow", "410-420").replace("target", "protocol = \"udp\"\ntarget");
    assert_eq!(rules(&[("a.toml", &(text + &sni("a", "\"a.example\"")))]).len(), 3);
    let elsewhere = range("wide", "400-500").replace("target", "listen_address = \"0.0.0.0\"\ntarget");
    assert_eq!(found(&[("a.toml", &(elsewhere + &sni("a", "\"a.example\"")))]), ["port_clash a.toml:8:15"]);
}

#[test]
fn one_name_on_two_rules_of_a_port_is_a_clash_that_names_both_places() {
    let text = sni("a", "\"a.example\", \"b.example\"") + &sni("b", "\"c.example\", \"B.EXAMPLE.\"");
    let found = check(&[("a.toml", &text)]).diagnostics;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code, TreeCode::PortClash);
    assert_eq!(found[0].position().map(|at| (at.line, at.column)), Some((10, 21)));
    assert!(found[0].message.contains("`b.example` leads to two rules"), "{}", found[0].message);
    assert_eq!(found[0].related.len(), 1);
    // The same name on another port, or of a rule that is switched off, is nothing.
    rules(&[(
        "a.toml",
        &(sni("a", "\"a.example\"") + &sni("b", "\"a.example\"").replace("listen_port = 443", "listen_port = 444")),
    )]);
    rules(&[("a.toml", &(sni("a", "\"a.example\"") + &sni("b", "\"a.example\"") + "enabled = false\n"))]);
}

#[test]
fn rules_that_share_a_port_expect_the_same_proxies() {
    let proxy = "accept_proxy = [\"10.1.0.0/16\", \"10.2.0.0/16\"]\n";
    let other = "accept_proxy = [\"10.2.0.0/16\", \"10.1.0.0/16\"]\n";
    let same = sni("a", "\"a.example\"") + proxy + &sni("b", "\"b.example\"") + other;
    assert_eq!(rules(&[("a.toml", &same)]).len(), 2);
    let fallback = same + &WEB.replace("web", "fallback");
    assert_eq!(found(&[("a.toml", &fallback)]), ["conflicting_keys a.toml:15:15"]);
}

#[test]
fn an_owner_stands_once_in_a_tree_and_limits_all_of_its_rules() {
    let owned = |name: &str, port: u16| {
        WEB.replace("web", name).replace("listen_port = 443", &format!("listen_port = {port}")) + "owner = \"team\"\n"
    };
    let owner = "[[owner]]\nname = \"team\"\nquota = { bytes = 7 }\n";
    let files = [("a.toml", owned("a", 1)), ("b.toml", owned("b", 2)), ("o.toml", owner.to_owned())];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    for rule in rules(&files) {
        let quota = rule.owner_limits.as_ref().and_then(|owner| owner.quota.as_ref()).expect("its owner has a quota");
        assert_eq!(quota.bytes.get(), 7);
    }
    let twice = check(&[files[0], files[2], ("p.toml", owner)]).diagnostics;
    assert_eq!((twice[0].code, twice[0].related.len()), (TreeCode::DuplicateOwner, 1));
    let cases = [
        ("[[owner]]\nname = \"team\"\n", "missing_key o.toml:2:8"),
        ("[[owner]]\nname = \"\"\nquota = { bytes = 1 }\n", "invalid_value o.toml:2:8"),
        ("[[owner]]\nquota = { bytes = 1 }\n", "missing_key o.toml:1:1"),
        ("[[owner]]\nname = \"team\"\nrate_limit = { per_source = { connections = 1 } }\n", "unknown_key o.toml:3:16"),
        ("[[owner]]\nname = \"team\"\nquota = { warn_percent = 1 }\n", "missing_key o.toml:3:9"),
        ("[[owner]]\nname = \"team\"\nquota = { bytes = 1, on_exhausted = \"throttle\" }\n", "missing_key o.toml:3:1"),
        // A warning.
        ("[[owner]]\nname = \"teem\"\nquota = { bytes = 1 }\n", "not_applicable o.toml:2:8"),
    ];
    for (text, expected) in cases {
        assert_eq!(found(&[files[0], ("o.toml", text)]), [expected], "{text}");
    }
}

#[test]
fn a_remembered_file_gets_the_limits_of_an_owner_that_changed_elsewhere() {
    let web = WEB.to_owned() + "owner = \"team\"\n";
    let mut memo = Memo::default();
    let mut bytes = |owner: &str| {
        let files = vec![SourceFile::new("a.toml", web.as_str()), SourceFile::new("o.toml", owner)];
        let tree = TreeFiles { files, problems: Vec::new() };
        let checked = check_tree_again(&tree, &CheckLimits::default(), &mut memo);
        let rule = checked.ruleset?.edges.into_values().next()?.into_values().next()?.rule;
        Some(rule.owner_limits.as_ref()?.quota.as_ref()?.bytes.get())
    };
    assert_eq!(bytes("[[owner]]\nname = \"team\"\nquota = { bytes = 7 }\n"), Some(7));
    assert_eq!(bytes("[[owner]]\nname = \"team\"\nquota = { bytes = 8 }\n"), Some(8));
    assert_eq!(bytes("# nobody\n"), None);
}
