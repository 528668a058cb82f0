//! A file that is valid as it stands and its import give the same rules: the example, and every key at every place.

use schema::fields::{defaults, rule};
use schema::ruleset::{EdgeRules, RuleSet, rules_only};

use super::*;

fn checked(files: Vec<SourceFile>) -> Option<RuleSet> {
    check_tree(&TreeFiles { files, problems: Vec::new() }, &CheckLimits::default()).ruleset
}

/// False if the text is not a valid rule file.
fn is_same(name: &str, text: &str) -> bool {
    let file = SourceFile::new(name, text);
    let Some(before) = checked(vec![file.clone()]) else { return false };
    let imported = import(&[file], &EdgeName::local(), CheckLimits::default()).expect("a valid file can be imported");
    let files = imported.files.iter().map(|file| SourceFile::new(&*file.path, &*file.text)).collect();
    let after = checked(files).unwrap_or_else(|| panic!("{text}\n{:?}", imported.files));
    let rules = |edges: &BTreeMap<EdgeName, EdgeRules>| -> Vec<_> {
        edges.iter().map(|(edge, rules)| (edge.clone(), rules_only(rules))).collect()
    };
    assert_eq!(rules(&before.edges), rules(&after.edges), "{text}\n{}", imported.files[0].text);
    assert_eq!(rules(&before.disabled), rules(&after.disabled), "{text}");
    assert_eq!(before.global, after.global, "{text}");
    let is_expected = |found: &Finding| found.kind == Kind::Ignored || found.key == "edge";
    assert!(imported.findings.iter().all(is_expected), "{text}: {:?}", imported.findings);
    true
}

const RULES: &str = "
[[rule]]
name = \"one\"
listen_port = 80
target = \"a.example:80\"

[[rule]]
name = \"two\"
listen_ports = \"90-99\"
protocol = \"udp\"
target = \"a.example:90-99\"

[[rule]]
name = \"three\"
listen_port = 443
protocol = \"tcp\"
balance = \"round-robin\"
health = { kind = \"https\", interval_secs = 9, path = \"/h\" }
targets = [{ host = \"b.example\", port = 1, weight = 3 }, { host = \"2001:db8::1\", port = 2, priority = 4, enabled = false }]
";

#[test]
fn the_example_and_defaults_of_every_kind() {
    let example = include_str!("../../examples/standalone.d/standalone.toml");
    assert!(is_same("standalone.toml", example));
    let edges = "[[edge]]\nname = \"edge-01\"\nlabels = { region = \"fra\" }\n[[edge]]\nname = \"edge-02\"\n";
    let keys: Vec<String> =
        defaults::TABLE.own_fields().map(|(_, field)| format!("{} = {}\n", field.key, field.example)).collect();
    let mut valid = 0;
    for one in &keys {
        for other in keys.iter().filter(|other| *other >= one) {
            let both = if one == other { one.clone() } else { format!("{one}{other}") };
            let text = format!("{edges}\n[defaults]\n{both}{RULES}");
            valid += u32::from(is_same("defaults.toml", &text));
        }
    }
    assert!(valid > 200, "{valid}");
}

#[test]
fn every_key_of_a_rule_in_every_syntax() {
    let mut valid = 0;
    for protocol in ["tcp", "udp"] {
        for (_, field) in rule::TABLE.own_fields().filter(|(_, field)| field.key != "protocol") {
            let base = [("name", "\"r\""), ("listen_port", "53"), ("target", "\"a.example:53\"")];
            let base =
                base.iter().filter(|(key, _)| *key != field.key).map(|(key, value)| format!("{key} = {value}\n"));
            let base: String = base.collect();
            let key = format!("{} = {}\n", field.key, field.example);
            let inventory = "[[edge]]\nname = \"edge-01\"\nlabels = { region = \"fra\" }\n";
            let text = format!("{inventory}[[rule]]\nprotocol = \"{protocol}\"\n{base}{key}");
            valid += u32::from(is_same("rule.toml", &text));
            let value: toml::Value = toml::from_str(&text).expect("the examples are TOML");
            let json = serde_json::to_string(&value).expect("TOML without dates is JSON");
            valid += u32::from(is_same("rule.json", &json));
            valid += u32::from(is_same("rule.yaml", &serde_yaml::to_string(&value).expect("and YAML")));
        }
    }
    assert!(valid > 120, "{valid}");
}

#[test]
fn defaults_hold_for_the_rules_that_can_be_kept_of_a_file_that_is_not_valid() {
    let broken = "[[rule]]\nname = \"broken\"\nlisten_port = 1\n";
    let text = format!("[defaults]\nowner = \"w\"\nmax_connections = 7\nidle_timeout_secs = 9\n{RULES}{broken}");
    let file = SourceFile::new("standalone.toml", text);
    let imported = import(&[file], &EdgeName::local(), CheckLimits::default()).expect("TOML");
    let text = &imported.files[0].text;
    assert_eq!((imported.rules, imported.is_complete()), (3, false), "{:?}", imported.findings);
    assert_eq!(text.matches("owner = \"w\"").count(), 3, "{text}");
    assert_eq!(text.matches("idle_timeout_secs = 9").count(), 2, "{text}");
    let dropped: Vec<_> = imported.findings.iter().map(|found| (found.kind, found.rule.as_str())).collect();
    assert_eq!(dropped, [(Kind::Dropped, "local/broken")], "{:?}", imported.findings);
}
