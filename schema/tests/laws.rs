//! The laws of this crate over arbitrary input.

mod codes;
mod ending;

use std::collections::BTreeSet;

use proptest::prelude::*;
use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::{SourceFile, has_errors};
use schema::diff::{ChangeKind, Rules, apply, diff};
use schema::net::{ListenRange, Listener};
use schema::ruleset::TreeFiles;
use schema::testing::arbitrary;
use schema::{format, spec, wire};

const FULL: &str = include_str!("full.toml");
const FULL_YAML: &str = "edge:\n- name: edge-1\n  labels: {region: fra}\ndefaults:\n  owner: web\nrule:\n- name: web\n  \
                         edges: [\"edge-*\"]\n  listen_ports: 30000-30050\n  target: \"h:30000-30050\"\n- name: b\n  \
                         listen_port: 1\n  targets: [{host: \"::1\", port: 2, weight: 3}]\n";

fn tree(path: &str, text: &str) -> TreeFiles {
    TreeFiles { files: vec![SourceFile::new(path, text)], problems: Vec::new() }
}

/// Code, message and (where the layout is the same) nothing else: what a file means, wherever its lines stand.
fn meaning(text: &str) -> (Vec<String>, Option<Vec<String>>) {
    let checked = check_tree(&tree("a.toml", text), &CheckLimits::default());
    let mut found: Vec<_> = checked.diagnostics.iter().map(|one| format!("{} {}", one.code, one.message)).collect();
    found.sort();
    let rules = checked.ruleset.map(|set| {
        let all = set.edges.iter().chain(&set.disabled);
        all.flat_map(|(edge, rules)| rules.values().map(move |placed| format!("{edge} {:?}", placed.rule))).collect()
    });
    (found, rules)
}

fn listeners(rules: &Rules) -> BTreeSet<Listener> {
    rules.values().flat_map(|rule| rule.listen.listeners()).collect()
}

fn sockets(ranges: &[ListenRange]) -> BTreeSet<Listener> {
    ranges.iter().flat_map(|range| range.listeners()).collect()
}

/// A valid text with a part replaced: the shapes that a person's half-done edit has.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let junk = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}=\"'#\n.,:&*!|>%@-]{1,4}",
        "\\PC{1,6}",
        "-?[0-9]{1,25}",
        "(name|targets|edges|rule|health) ?[=:] ?"
    ];
    (0..=text.len(), 0_usize..40, junk).prop_map(move |(start, length, junk)| {
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        format!("{}{junk}{}", &text[..floor(start)], &text[floor(start + length)..])
    })
}

fn check_all(text: &str) {
    for path in ["a.toml", "a.yaml", "a.json", "portunus.toml"] {
        let checked = check_tree(&tree(path, text), &CheckLimits::default());
        assert_eq!(checked.ruleset.is_none(), has_errors(&checked.diagnostics));
        for diagnostic in &checked.diagnostics {
            let json = diagnostic.to_json();
            if let Some(label) = &diagnostic.primary {
                assert!(label.span.start <= label.span.end && label.span.end <= text.len(), "{diagnostic:?}");
                assert!(text.get(label.span.start..label.span.end).is_some(), "{diagnostic:?}");
            }
            assert_eq!(json.line.is_some(), diagnostic.primary.is_some());
        }
        let whole = schema::diagnostic::all_to_json(&checked.diagnostics);
        assert_eq!(whole, checked.diagnostics.iter().map(schema::diagnostic::Diagnostic::to_json).collect::<Vec<_>>());
    }
}

fn formats(text: &str) {
    let Ok(once) = format::format(&SourceFile::new("a.toml", text)) else { return };
    let twice = format::format(&SourceFile::new("a.toml", once.clone()));
    assert_eq!(twice.as_ref(), Ok(&once), "formatting is idempotent");
    assert_eq!(meaning(&once), meaning(text), "formatting keeps the meaning");
    assert_eq!(hashes(&once), hashes(text), "formatting keeps every comment");
}

/// Every `#` with the rest of its line. Strings with a `#` count too, which is no harm: they stay as well.
fn hashes(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = text.lines().filter_map(|line| line.find('#').map(|at| line[at..].trim_end())).collect();
    found.sort_unstable();
    found
}

#[test]
fn the_full_file_is_valid_but_for_foreign_keys_and_formatting_settles_it() {
    let checked = check_tree(&tree("a.toml", FULL), &CheckLimits::default());
    for diagnostic in &checked.diagnostics {
        assert!(matches!(diagnostic.code.as_str(), "not_applicable"), "{diagnostic:?}");
    }
    let formatted = format::format(&SourceFile::new("a.toml", FULL)).expect("valid TOML");
    assert_ne!(formatted, FULL, "the file is written to be formatted");
    formats(FULL);
    check_all(FULL_YAML);
}

/// The file that a list of a rule was read from.
fn list_file(file: &schema::networks::ListFile) -> SourceFile {
    let lines: Vec<String> = file.list().expect("it is at hand").iter().map(|network| format!("{network}\n")).collect();
    SourceFile::new(file.path.clone(), lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_arbitrary_text_never_panics(text in "\\PC{0,200}|[\\[\\]{}=\"'#\na-z0-9:. -]{0,200}") {
        check_all(&text);
    }

    #[test]
    fn reading_a_half_edited_file_never_panics(toml in mutated(FULL), yaml in mutated(FULL_YAML)) {
        check_all(&toml);
        check_all(&yaml);
    }

    #[test]
    fn formatting_is_idempotent_and_keeps_meaning_and_comments(text in mutated(FULL)) {
        formats(&text);
    }

    #[test]
    fn a_rule_survives_the_wire(rule in arbitrary::rule()) {
        prop_assert_eq!(wire::rule_from_wire(&wire::rule_to_wire(&rule)), Ok(rule));
    }

    #[test]
    fn a_rule_with_limits_survives_the_wire_and_its_spec(rule in arbitrary::owned_rule()) {
        prop_assert_eq!(wire::rule_from_wire(&wire::rule_to_wire(&rule)), Ok(rule.clone()));
        let value = serde_json::Value::Object(spec::to_json(&rule));
        prop_assert_eq!(spec::from_json(&value), Ok(rule));
    }

    #[test]
    fn two_rules_with_limits_differ_in_fields_exactly_if_they_differ(
        a in arbitrary::owned_rule(), b in arbitrary::owned_rule(),
    ) {
        prop_assert_eq!(spec::field_changes(&a, &b).is_empty(), a == b);
        prop_assert_eq!(spec::field_changes(&a, &a), vec![]);
    }

    #[test]
    fn a_rule_survives_its_spec(rule in arbitrary::rule()) {
        let value = serde_json::Value::Object(spec::to_json(&rule));
        prop_assert_eq!(spec::from_json(&value), Ok(rule.clone()));
        prop_assert_eq!(spec::field_changes(&rule, &rule), vec![]);
    }

    #[test]
    fn a_rule_as_toml_is_canonical_and_means_the_same(rule in prop_oneof![arbitrary::rule(), arbitrary::guarded_rule()]) {
        let text = spec::to_toml(&rule, None);
        let file = SourceFile::new("a.toml", text.clone());
        prop_assert_eq!(format::format(&file), Ok(text.clone()));
        let mut found = schema::findings::Findings::new();
        let node = schema::text::parse(&file, &mut found).expect("TOML");
        let draft = schema::decode::decode(&file, node, &schema::fields::root::TABLE, &mut found).expect("a table");
        prop_assert_eq!(found.into_sorted(), vec![]);
        prop_assert_eq!(draft.tables(schema::fields::root::RULE).len(), 1);
        // A limit of the server and defaults of the protocol aside, the tree holds this very rule.
        let limits = CheckLimits { range_rule_max_ports: u32::MAX, ..CheckLimits::default() };
        let lists = rule.access.iter().flat_map(|access| access.files()).map(list_file);
        let files = std::iter::once(file).chain(lists).collect();
        let checked = check_tree(&TreeFiles { files, problems: Vec::new() }, &limits);
        if let Some(set) = checked.ruleset {
            let placed = set.edges.values().next().and_then(|rules| rules.values().next()).expect("one rule");
            prop_assert_eq!(&*placed.rule, &rule);
        } else {
            prop_assert_eq!(checked.diagnostics, vec![]);
        }
    }

    #[test]
    fn two_rules_differ_in_fields_exactly_if_they_differ(a in arbitrary::rule(), b in arbitrary::rule()) {
        prop_assert_eq!(spec::field_changes(&a, &b).is_empty(), a == b);
    }

    #[test]
    fn applying_a_difference_gives_the_target_and_its_inverse_the_way_back(
        a in arbitrary::rules(), b in arbitrary::rules(),
    ) {
        let changes = diff(&a, &b);
        prop_assert_eq!(&apply(&a, &changes), &b);
        prop_assert_eq!(&apply(&b, &changes.invert()), &a);
        prop_assert_eq!(&apply(&a, &changes.invert().invert()), &b);
        prop_assert!(diff(&a, &a).is_empty());
        prop_assert_eq!(diff(&a, &b), changes);
    }

    #[test]
    fn what_is_bound_kept_and_released_is_what_the_sets_say(a in arbitrary::rules(), b in arbitrary::rules()) {
        let (open, wanted) = (listeners(&a), listeners(&b));
        let mut bound = BTreeSet::new();
        let mut released = BTreeSet::new();
        for change in diff(&a, &b).changes {
            let after: BTreeSet<Listener> = change.after.iter().flat_map(|rule| rule.listen.listeners()).collect();
            let before: BTreeSet<Listener> = change.before.iter().flat_map(|rule| rule.listen.listeners()).collect();
            let (bind, keep) = (sockets(&change.bind), sockets(&change.keep));
            prop_assert!(bind.is_disjoint(&keep));
            prop_assert_eq!(&bind | &keep, after.clone());
            prop_assert_eq!(&bind, &(&after - &open));
            prop_assert_eq!(sockets(&change.release), &before - &wanted);
            if matches!(change.kind, ChangeKind::Update | ChangeKind::Move) {
                prop_assert!(bind.is_empty() && change.release.is_empty());
            }
            bound.extend(bind);
            released.extend(sockets(&change.release));
        }
        prop_assert_eq!(bound, &wanted - &open);
        prop_assert_eq!(released, &open - &wanted);
    }
}
