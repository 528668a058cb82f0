//! `trace` in a tree: what it says of connections that are forwarded, refused and misdirected, and its exit codes.

use std::path::Path;

use crate::support::{assert_golden, run, tree};

const TREE: &str = r#"[[rule]]
name = "web"
owner = "team-web"
listen_port = 443
sni = ["www.example.org", "*.shop.example.org"]
max_connections = 500
targets = [
  { host = "10.0.0.5", port = 443, proxy_protocol = "v2" },
  { host = "10.0.0.6", port = 443, priority = 1 },
]

[rule.access]
deny = [
  "10.9.0.0/16",
]

[[rule]]
name = "office"
listen_port = 8443
target = "10.0.0.8:443"
access = { allow_file = "lists/office.txt" }

[[rule]]
name = "rest"
listen_port = 443
target = "10.0.0.7:443"

[[rule]]
name = "dns"
protocol = "udp"
listen_ports = "5300-5309"
target = "10.0.0.53:5300-5309"

[[owner]]
name = "team-web"
quota = { bytes = 5000000000000 }
"#;

#[test]
fn a_trace_names_rule_access_limits_and_targets_with_their_lines() {
    let list = "# the office\n192.0.2.0/28\n198.51.100.7 # the printer\n";
    let dir = tree(&[("rules.toml", TREE), ("lists/office.txt", list)]);
    let traces: [(&str, i32, &[&str]); 6] = [
        ("listed", 0, &["--from", "198.51.100.7", "--port", "8443"]),
        ("forwarded", 0, &["--from", "10.8.0.1", "--port", "443", "--sni", "WWW.Example.org."]),
        ("refused", 2, &["--from", "::ffff:10.9.0.1", "--port", "443", "--sni", "a.shop.example.org"]),
        ("fallback", 0, &["--from", "10.9.0.1", "--port", "443"]),
        ("udp", 0, &["--from", "2001:db8::1", "--port", "5303", "--udp"]),
        ("nobody", 2, &["--from", "10.8.0.1", "--port", "5303"]),
    ];
    for (name, code, args) in traces {
        let ran = run(dir.path(), &[&["trace", "local", "."], args].concat());
        assert_eq!(ran.code, code, "{name}: {}", ran.session());
        assert_golden(&ran.session(), &Path::new("trace").join(format!("{name}.txt")));
    }
    let json = run(dir.path(), &["trace", "local", ".", "--from", "10.8.0.1", "--port", "443", "-o", "json"]);
    let found: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    for key in ["rule", "listener", "access", "limits", "pool", "dial_order", "proxy_protocol"] {
        assert!(found.get(key).is_some(), "{key}: {found}");
    }
}

#[test]
fn a_trace_of_an_unknown_edge_or_a_wildcard_is_an_error() {
    let dir = tree(&[("rules.toml", TREE)]);
    let unknown = run(dir.path(), &["trace", "edge-9", ".", "--from", "10.8.0.1", "--port", "443"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""), "{}", unknown.stderr);
    let wildcard = run(dir.path(), &["trace", "local", ".", "--from", "10.8.0.1", "--port", "443", "--sni", "*.b.org"]);
    assert_eq!(wildcard.code, 64, "{}", wildcard.stderr);
}
