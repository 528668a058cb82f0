//! What the checks of list files promise. Kept apart from the other tests of checking for their size.

use super::*;
use crate::spec;

const WEB: &str = "[[rule]]\nname = \"web\"\nlisten_port = 443\ntarget = \"10.0.0.5:443\"\n";

fn tree(files: &[(&str, &str)]) -> TreeFiles {
    let files = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
    TreeFiles { files, problems: Vec::new() }
}

fn check(files: &[(&str, &str)]) -> Checked {
    check_tree(&tree(files), &CheckLimits::default())
}

/// Code, file, line, column and message of everything found.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let one = |diagnostic: &Diagnostic| {
        let at = diagnostic.position().map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
        format!("{} {}{at} {}", diagnostic.code, diagnostic.path, diagnostic.message)
    };
    check(files).diagnostics.iter().map(one).collect()
}

fn rule_of(checked: &Checked) -> Arc<Rule> {
    assert_eq!(checked.diagnostics, [], "the tree is meant to be valid");
    let set = checked.ruleset.as_ref().expect("no error, so there is a rule set");
    set.edges.values().flat_map(BTreeMap::values).next().expect("a rule").rule.clone()
}

fn rule(files: &[(&str, &str)]) -> Arc<Rule> {
    rule_of(&check(files))
}

fn with(access: &str) -> String {
    format!("{WEB}access = {{ {access} }}\n")
}

#[test]
fn a_list_file_counts_beside_the_networks_of_the_rule() {
    let web = with("allow = [\"192.0.2.0/24\"], allow_file = \"lists/office.txt\", deny_file = \"away\"");
    let rule = rule(&[("away", "10.9.0.0/16\n"), ("lists/office.txt", "# office\n10.0.0.0/8\n"), ("web.toml", &web)]);
    let access = rule.access.as_deref().expect("it has lists");
    let admits = |ip: &str| access.admits(ip.parse().expect("an address"));
    assert_eq!(["10.1.0.1", "10.9.0.1", "192.0.2.9", "198.51.100.1"].map(admits), [true, false, true, false]);
    assert!(rule.is_resolved());
}

#[test]
fn what_is_wrong_with_a_list_has_its_place_in_the_list_or_in_the_rule() {
    let web = with("allow_file = \"lists/office.txt\"");
    let in_list = found(&[("lists/office.txt", "10.0.0.0/8\n\n 10.0.0.1/8\n"), ("web.toml", &web)]);
    let message = "`10.0.0.1/8` has bits set beyond its prefix: write 10.0.0.0/8";
    assert_eq!(in_list, [format!("invalid_value lists/office.txt:3:2 {message}")]);
    assert_eq!(found(&[("web.toml", &web)]), ["unreadable_file web.toml:5:25 the tree has no file lists/office.txt"]);
    assert_eq!(
        found(&[("lists/office.txt", "# nobody yet\n"), ("web.toml", &web)]),
        ["out_of_range web.toml:5:25 the list file lists/office.txt has no network: nobody could connect"]
    );
    let deny = with("deny_file = \"lists/office.txt\"");
    assert_eq!(found(&[("lists/office.txt", "# nobody yet\n"), ("web.toml", &deny)]), [""; 0]);
    for path in ["/etc/hosts", "../a.txt", "a/../b.txt", "rules.toml"] {
        let found = found(&[("web.toml", &with(&format!("allow_file = \"{path}\"")))]);
        assert!(found[0].starts_with("invalid_value web.toml:5:25"), "{path}: {found:?}");
    }
    let mut files = tree(&[("web.toml", &web)]);
    files.problems.push(Diagnostic::without_place(TreeCode::FileTooLarge, "lists/office.txt", "33 MiB"));
    assert_eq!(check_tree(&files, &CheckLimits::default()).diagnostics.len(), 1, "said once");
}

#[test]
fn lists_in_defaults_and_in_several_rules_are_one_content() {
    let text = "[defaults.access]\ndeny_file = \"l.txt\"\n[[rule]]\nname = \"a\"\nlisten_port = 1\ntarget = \"a:1\"\n\
                [[rule]]\nname = \"b\"\nlisten_port = 2\ntarget = \"a:2\"\n";
    let checked = check(&[("a.toml", text), ("l.txt", "10.0.0.0/8\n")]);
    assert_eq!(checked.diagnostics, []);
    let set = checked.ruleset.expect("valid");
    let rules: Vec<&Rule> = set.edges.values().flat_map(BTreeMap::values).map(|placed| &*placed.rule).collect();
    assert_eq!((rules.len(), crate::wire::entry::lists_to_wire(rules).len()), (2, 1));
}

#[test]
fn a_list_that_changes_changes_its_rule_with_a_memo_too_and_another_order_does_not() {
    let web = with("allow_file = \"l.txt\", mode = \"observe\"");
    let (mut memo, limits) = (Memo::default(), CheckLimits::default());
    let mut again =
        |list: &str| rule_of(&check_tree_again(&tree(&[("l.txt", list), ("web.toml", &web)]), &limits, &mut memo));
    let first = again("10.0.0.0/8\n192.0.2.0/24\n");
    assert_eq!(again("192.0.2.0/24\n# order\n10.0.0.0/8\n"), first);
    let changed = again("10.0.0.0/8\n198.51.100.0/24\n203.0.113.0/24\n");
    assert_ne!(changed, first);
    let fields: Vec<String> = spec::field_changes(&first, &changed)
        .into_iter()
        .map(|change| format!("{} {} {}", change.path, change.before, change.after))
        .collect();
    assert_eq!(
        fields,
        [
            "access.allow_file.added null [\"198.51.100.0/24\",\"203.0.113.0/24\"]",
            "access.allow_file.networks 2 3",
            "access.allow_file.removed [\"192.0.2.0/24\"] null",
        ]
    );
    let stored = spec::from_json(&spec::to_json(&first).into()).expect("its own data");
    assert_eq!(stored, *first);
    assert!(!stored.is_resolved(), "the networks are not in it");
    let fields: Vec<String> = spec::field_changes(&stored, &changed).into_iter().map(|change| change.path).collect();
    assert_eq!(fields, ["access.allow_file.digest", "access.allow_file.networks"]);
    let resolved = stored.resolved(&crate::wire::entry::lists_of([&*first]));
    assert!(resolved.is_resolved());
}
