//! What the decoder promises: every error with its place, and every example of the field table accepted.

use super::*;
use crate::fields::{Kind, rule, target};

fn decoded<R>(path: &str, text: &str, read: impl FnOnce(Option<Draft<'_>>, Vec<Diagnostic>) -> R) -> R {
    let file = SourceFile::new(path, text);
    let mut diagnostics = crate::findings::Findings::new();
    let node = text::parse(&file, &mut diagnostics).expect("the syntax is valid");
    let draft = decode(&file, node, &rule::TABLE, &mut diagnostics);
    read(draft, diagnostics.into_sorted())
}

fn codes(text: &str) -> Vec<(TreeCode, u32, u32)> {
    decoded("a.toml", text, |_, diagnostics| {
        diagnostics
            .iter()
            .map(|diagnostic| {
                let at = diagnostic.position().expect("the decoder points at everything");
                (diagnostic.code, at.line, at.column)
            })
            .collect()
    })
}

#[test]
fn every_error_of_a_table_is_found_with_its_place() {
    let found = codes("name = 7\nlisten_port = 0\nlisten_ports = \"0-10\"\nproto = \"tcp\"\ntarget = \"a..b:1\"\n");
    assert_eq!(
        found,
        [
            (TreeCode::WrongType, 1, 8),
            (TreeCode::OutOfRange, 2, 15),
            (TreeCode::OutOfRange, 3, 16),
            (TreeCode::UnknownKey, 4, 1),
            (TreeCode::InvalidHost, 5, 10),
        ]
    );
}

#[test]
fn port_ranges_have_one_code_per_mistake() {
    let code = |text: &str| codes(&format!("name = \"a\"\nlisten_ports = \"{text}\"\n")).first().map(|found| found.0);
    assert_eq!(code("8443"), None);
    assert_eq!(code("1-65535"), None);
    assert_eq!(code("10-5"), Some(TreeCode::InvalidValue));
    assert_eq!(code("abc"), Some(TreeCode::InvalidValue));
    assert_eq!(code(""), Some(TreeCode::InvalidValue));
    assert_eq!(code("1-2-3"), Some(TreeCode::InvalidValue));
    assert_eq!(code("70000-70010"), Some(TreeCode::OutOfRange));
    assert_eq!(code("99999999999999999999"), Some(TreeCode::OutOfRange));
    assert_eq!(code("+5"), Some(TreeCode::InvalidValue));
}

#[test]
fn endpoints_need_a_host_and_a_port_and_brackets_around_ipv6() {
    let code = |text: &str| codes(&format!("name = \"a\"\ntarget = \"{text}\"\n")).first().map(|found| found.0);
    assert_eq!(code("[2001:db8::1]:443"), None);
    assert_eq!(code("host:1-9"), None);
    assert_eq!(code("host"), Some(TreeCode::InvalidValue));
    assert_eq!(code("2001:db8::1"), Some(TreeCode::InvalidValue));
    assert_eq!(code("[2001:db8::1]"), Some(TreeCode::InvalidValue));
    assert_eq!(code("[10.0.0.1]:1"), Some(TreeCode::InvalidHost));
    assert_eq!(code(":80"), Some(TreeCode::InvalidHost));
    assert_eq!(code("10.0.0.256:80"), Some(TreeCode::InvalidHost));
    assert_eq!(code("host:0"), Some(TreeCode::OutOfRange));
    assert_eq!(code(&format!("{}:80", "a".repeat(300))), Some(TreeCode::InvalidHost));
}

#[test]
fn a_typing_error_gets_a_hint_and_a_key_of_another_table_its_home() {
    decoded("a.toml", "name = \"a\"\nlisen_port = 1\nrise = 2\n", |_, diagnostics| {
        assert_eq!(diagnostics[0].help.as_deref(), Some("did you mean `listen_port`?"));
        assert_eq!(diagnostics[1].help.as_deref(), Some("`rise` belongs to [rule.health]"));
    });
}

#[test]
fn yaml_and_toml_give_the_same_draft() {
    let yaml = "name: web\nlisten_port: 8443\ntargets:\n- {host: a, port: 1}\n- {host: b, port: 2, weight: 5}\n";
    decoded("a.yaml", yaml, |draft, diagnostics| {
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let draft = draft.expect("a table");
        assert_eq!(draft.text(rule::NAME), Some("web"));
        let targets = draft.tables(rule::TARGETS);
        assert_eq!(targets[1].get(target::WEIGHT).and_then(Slot::int), Some(5));
    });
}

#[test]
fn control_characters_are_refused_where_text_is_printed() {
    assert_eq!(codes("name = \"a\"\nowner = \"\\u001b[2J\"\n"), [(TreeCode::InvalidValue, 2, 9)]);
    assert_eq!(codes("name = \"a\"\nhealth = { send = \"PING\\r\\n\" }\n"), []);
}

#[test]
fn every_example_and_every_default_of_the_field_table_decodes() {
    for table in fields::TABLES {
        for (_, field) in table.own_fields() {
            let values = [field.example, field.default];
            for value in values.into_iter().filter(|value| !value.is_empty()) {
                let file = SourceFile::new("a.toml", format!("{} = {value}\n", field.key));
                let mut diagnostics = crate::findings::Findings::new();
                let node = text::parse(&file, &mut diagnostics).expect("TOML recovers");
                decode(&file, node, table, &mut diagnostics);
                let mut diagnostics = diagnostics.into_sorted();
                diagnostics.retain(|found| found.code != TreeCode::MissingKey);
                assert!(diagnostics.is_empty(), "{}.{}: {diagnostics:?}", table.name, field.key);
            }
            assert!(!field.example.is_empty(), "{}.{}", table.name, field.key);
        }
    }
}

#[test]
fn a_null_is_no_value() {
    decoded("a.yaml", "name: a\nowner:\n", |_, diagnostics| {
        assert_eq!(diagnostics[0].code, TreeCode::WrongType);
    });
    assert!(matches!(rule::TABLE.fields[rule::OWNER].kind, Kind::Text { .. }));
}

#[test]
fn a_unix_socket_as_a_target_is_named_as_one() {
    for text in ["unix:/run/x.sock", "unix:///run/x.sock", "unix@/run/x", "/run/x.sock", "unix:x.sock", "abns@x"] {
        for file in [format!("target = \"{text}\"\n"), format!("targets = [{{ host = \"{text}\", port = 1 }}]\n")] {
            decoded("a.toml", &format!("name = \"a\"\nlisten_port = 1\n{file}"), |_, found| {
                let messages: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
                assert!(
                    matches!(messages[..], [one] if one.contains("Unix sockets are not supported")),
                    "{messages:?}"
                );
            });
        }
    }
    for text in ["unix:80", "unix-1.example:80", "unixhost:1-9"] {
        decoded("a.toml", &format!("name = \"a\"\ntarget = \"{text}\"\n"), |_, found| {
            assert!(found.is_empty(), "{found:?}");
        });
    }
}

#[test]
fn a_file_of_another_program_gets_the_hint_at_what_the_tree_ignores() {
    let found = |path: &str, text: &str| {
        let file = SourceFile::new(path, text);
        let mut found = crate::findings::Findings::new();
        if let Some(node) = text::parse(&file, &mut found) {
            decode(&file, node, &crate::fields::root::TABLE, &mut found);
        }
        found.into_sorted().first().and_then(|first| first.help.clone()).unwrap_or_default()
    };
    for (path, text) in [
        ("docker-compose.yml", "services:\n  web:\n    image: nginx\n    ports: [\"80:80\"]\n"),
        ("docker-compose.yml", "version: \"3\"\nservices: {}\n"),
        ("k8s.yaml", "apiVersion: v1\nkind: Service\n"),
        ("playbook.yml", "- hosts: all\n"),
        ("many.yaml", "a: 1\n---\nb: 2\n"),
        ("anchors.yml", "x-base: &base\n  image: a\nservices:\n  web: *base\n"),
        ("template.yaml", "Resources: !Ref x\n"),
        ("Cargo.toml", "[package]\nname = \"x\"\n"),
        ("package.json", "{\"name\": \"x\", \"version\": \"1\"}"),
    ] {
        assert!(found(path, text).contains("`[tree] ignore`"), "{path}: {}", found(path, text));
    }
    assert!(!found("rules.toml", "[[rul]]\n").contains("ignore"));
    assert!(!found("rules.toml", "[[rule]]\nname = \"a\"\n[servces]\n").contains("ignore"));
}

#[test]
fn editors_may_be_told_of_the_schema_at_the_top_only() {
    for (path, text, count) in [
        ("a.json", "{\"$schema\": \"https://example.invalid/s.json\", \"rule\": []}", 0),
        ("a.yaml", "$schema: x\nrule: []\n", 0),
        ("a.toml", "#:schema ./rules.schema.json\n\"$schema\" = \"x\"\n", 0),
        ("a.json", "{\"$schema\": 3, \"rule\": []}", 1),
        ("a.json", "{\"defaults\": {\"$schema\": \"x\"}}", 1),
    ] {
        let file = SourceFile::new(path, text);
        let mut found = crate::findings::Findings::new();
        let node = text::parse(&file, &mut found).expect("the syntax is valid");
        decode(&file, node, &crate::fields::root::TABLE, &mut found);
        assert_eq!(found.made(), count, "{path}: {found:?}");
    }
}

/// The hints of the first error.
fn first_hint(text: &str) -> String {
    decoded("a.toml", &format!("name = \"a\"\n{text}\n"), |_, diagnostics| {
        diagnostics.first().and_then(|found| found.help.clone()).unwrap_or_default()
    })
}

#[test]
fn a_target_with_a_scheme_is_a_url_and_the_hint_is_what_to_write() {
    for (target, hint) in [
        ("https://h:443", "write \"h:443\""),
        ("http://h", "write \"h:80\""),
        ("https://h/a?b=c:d", "write \"h:443\""),
        ("tcp://[2001:db8::1]:25", "write \"[2001:db8::1]:25\""),
        ("tcp://10.0.0.1:8000-8010", "write \"10.0.0.1:8000-8010\""),
        ("http://me:secret@h:8080/", "write \"h:8080\""),
        ("udp://h:53", "write \"h:53\", and `protocol = \"udp\"` in the rule"),
        ("tcp://h", "a target is written as \"HOST:PORT\", without a scheme"),
    ] {
        assert_eq!(first_hint(&format!("target = \"{target}\"")), hint, "{target}");
    }
    let hint = first_hint("targets = [{ host = \"https://h\", port = 443 }]");
    assert_eq!(hint, "write \"h\", and the port in its own key");
    assert_eq!(first_hint("targets = [{ host = \"h:443\", port = 443 }]"), "write `host = \"h\", port = 443`");
}

#[test]
fn a_value_of_the_wrong_type_gets_the_form_that_was_probably_meant() {
    for (value, hint) in [
        ("listen_port = \"8080-8090\"", "a range of ports is written as `listen_ports = \"8080-8090\"`"),
        ("listen_port = 8080-8090", "a range of ports is written as `listen_ports = \"8080-8090\"`"),
        ("listen_port = 30000-30050", "a range of ports is written as `listen_ports = \"30000-30050\"`"),
        ("listen_ports = 8080-8090", "a range of ports is written as `listen_ports = \"8080-8090\"`"),
        ("listen_port = [8080, 8081]", "a range of ports is written as `listen_ports = \"8080-8081\"`"),
        ("listen_port = [80, 443]", "a rule listens on one port or on one range: write a rule for each"),
        ("listen_port = [80]", "write `listen_port = 80`"),
        (
            "targets = \"10.0.0.1:80\"",
            "write `target = \"10.0.0.1:80\"` for one target, or `targets = [{ host = \"10.0.0.1\", port = 80 }]`",
        ),
        ("targets = [\"10.0.0.1:80\"]", "an entry is written as `{ host = \"10.0.0.1\", port = 80 }`"),
        ("targets = [\"h:8000-8010\"]", "an entry is written as `{ host = \"h\", ports = \"8000-8010\" }`"),
        ("target = [\"10.0.0.1:80\"]", "write `target = \"10.0.0.1:80\"`"),
        (
            "target = [\"h:1\", \"[::1]:2\"]",
            "write `targets = [{ host = \"h\", port = 1 }, { host = \"::1\", port = 2 }]`",
        ),
        ("target = { host = \"h\", port = 1 }", "write `targets = [{ host = \"h\", port = 1 }]`"),
        ("target = 8081", "a target has a host: `target = \"127.0.0.1:8081\"` is a port of the edge itself"),
        (
            "listen_address = \"0.0.0.0:80\"",
            "the port has its own key: `listen_address = \"0.0.0.0\"` and `listen_port = 80`",
        ),
        ("listen_address = \"*\"", "leave the key out to listen on all addresses"),
    ] {
        assert_eq!(first_hint(value), hint, "{value}");
    }
}

#[test]
fn what_a_hint_says_to_write_is_valid() {
    for text in [
        "listen_port = 8080-8090\ntarget = \"h:8080-8090\"",
        "listen_port = 1\ntargets = [\"h:1\", \"[::1]:2\"]",
        "listen_port = 1\ntarget = [\"h:1\", \"[::1]:2\"]",
        "listen_port = 1\ntarget = { host = \"h\", port = 1 }",
    ] {
        let hint = first_hint(text);
        let written = hint.split('`').nth(1).expect("something to write").to_owned();
        let written = if written.starts_with('{') { format!("targets = [{written}]") } else { written };
        assert_eq!(codes(&format!("name = \"a\"\n{written}\n")), [], "{written}");
    }
}

#[test]
fn a_misspelt_key_is_not_missing_under_its_right_name() {
    let only = |text: &str| {
        let found = codes(text);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].0
    };
    assert_eq!(only("nmae = \"a\"\n"), TreeCode::UnknownKey);
    assert_eq!(only("name = \"a\"\ntargets = [{ hots = \"h\", port = 1 }]\n"), TreeCode::UnknownKey);
    assert_eq!(only("name = \"a\"\ntargets = [{ address = \"h\", port = 1 }]\n"), TreeCode::UnknownKey);
    assert_eq!(only("xyz = \"a\"\nname = \"a\"\n"), TreeCode::UnknownKey);
    assert_eq!(codes("xyz = 1\n").len(), 2, "a key that looks like none is missing nothing");
}
