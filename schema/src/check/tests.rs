//! What checking a tree promises, case by case; the laws are in tests/laws.rs.

use super::*;
use crate::diagnostic::Severity;
use crate::name::EdgeName;

fn tree(files: &[(&str, &str)]) -> TreeFiles {
    let mut files: Vec<SourceFile> = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    TreeFiles { files, problems: Vec::new() }
}

fn check(files: &[(&str, &str)]) -> Checked {
    check_tree(&tree(files), &CheckLimits::default())
}

/// Code, file, line and column of everything found.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let checked = check(files);
    assert_eq!(checked.ruleset.is_none(), crate::diagnostic::has_errors(&checked.diagnostics));
    checked
        .diagnostics
        .iter()
        .map(|diagnostic| match diagnostic.position() {
            Some(at) => format!("{} {}:{}:{}", diagnostic.code, diagnostic.path, at.line, at.column),
            None => diagnostic.code.to_string(),
        })
        .collect()
}

fn valid(files: &[(&str, &str)]) -> RuleSet {
    let checked = check(files);
    assert_eq!(checked.diagnostics, [], "the tree is meant to be valid");
    checked.ruleset.expect("no error, so there is a rule set")
}

fn edge(name: &str) -> EdgeName {
    EdgeName::new(name).expect("the test gives a name")
}

const WEB: &str = "[[rule]]\nname = \"web\"\nlisten_port = 8443\ntarget = \"10.0.0.5:443\"\n";

#[test]
fn a_rule_without_edges_runs_on_local_and_knows_its_line() {
    let set = valid(&[("a.toml", &format!("# one\n\n{WEB}"))]);
    let placed = &set.edges[&EdgeName::local()][&RuleName::new("web").expect("a name")];
    assert_eq!(placed.origin, Some(Origin { file: "a.toml".into(), line: 3, column: 1 }));
    assert_eq!(placed.rule.listen.to_string(), "*:8443");
}

#[test]
fn defaults_concern_the_rules_of_their_own_file_only() {
    let a = format!("[defaults]\nowner = \"a\"\nconnect_timeout_ms = 500\n{WEB}connect_timeout_ms = 700\n");
    let b = WEB.replace("web", "b").replace("8443", "8444");
    let set = valid(&[("a.toml", &a), ("b.toml", &b)]);
    let rules = &set.edges[&EdgeName::local()];
    let owner = |name: &str| rules[name].rule.owner.clone();
    assert_eq!((owner("web").as_str(), owner("b").as_str()), ("a", ""));
    assert_eq!(rules["web"].rule.connect_timeout.as_millis(), 700);
    assert_eq!(rules["b"].rule.connect_timeout.as_millis(), 3000);
}

#[test]
fn globs_and_labels_select_from_an_inventory_in_another_file() {
    let inventory = "[[edge]]\nname = \"edge-1\"\nlabels = { region = \"fra\" }\n[[edge]]\nname = \"edge-2\"\n";
    let labels = WEB.replace("web", "x").replace("8443", "1") + "edge_labels = { region = \"fra\" }\n";
    let glob = WEB.to_owned() + "edges = [\"edge-*\", \"edge-1\", \"local\"]\n";
    let set = valid(&[("a.toml", &labels), ("b.toml", &glob), ("z.toml", inventory)]);
    let count = |name: &str| set.edges[&edge(name)].len();
    assert_eq!((count("edge-1"), count("edge-2"), count("local")), (2, 1, 1));
    assert_eq!(set.inventory.len(), 2);
}

#[test]
fn selectors_that_match_nothing_are_errors() {
    let rule = |edges: &str| format!("{WEB}{edges}\n");
    assert_eq!(found(&[("a.toml", &rule("edges = [\"e*\"]"))]), ["no_edge_matches a.toml:5:10"]);
    assert_eq!(found(&[("a.toml", &rule("edge_labels = { a = \"b\" }"))]), ["no_edge_matches a.toml:5:15"]);
    assert_eq!(found(&[("a.toml", &rule("edges = []"))]), ["invalid_value a.toml:5:9"]);
    assert_eq!(found(&[("a.toml", &rule("edges = [\"E 1\"]"))]), ["invalid_value a.toml:5:10"]);
    let known = rule("edges = [\"edge-2\"]") + "[[edge]]\nname = \"edge-1\"\n";
    let checked = check(&[("a.toml", &known)]);
    assert_eq!(checked.diagnostics[0].code, TreeCode::UnknownEdge);
    assert_eq!(checked.diagnostics[0].help.as_deref(), Some("did you mean `edge-1`?"));
}

#[test]
fn duplicates_and_clashes_are_one_finding_for_many_edges_and_name_both_places() {
    let edges: Vec<String> = (0..1000).map(|number| format!("[[edge]]\nname = \"edge-{number:04}\"\n")).collect();
    let inventory = edges.concat();
    let on_all = WEB.to_owned() + "edges = [\"edge-*\"]\n";
    let files = [("a.toml", on_all.as_str()), ("b.toml", on_all.as_str()), ("z.toml", inventory.as_str())];
    assert_eq!(found(&files), ["duplicate_rule b.toml:2:8", "port_clash b.toml:3:15"]);
    for diagnostic in check(&files).diagnostics {
        assert!(diagnostic.message.contains("edge `edge-0000` and 999 more"), "{}", diagnostic.message);
        assert_eq!(&*diagnostic.related[0].file.path, "a.toml");
    }
}

#[test]
fn clashes_follow_protocol_address_and_overlap() {
    let rule = |name: &str, listen: &str| {
        let width = if listen.contains("20-30") { "20-30" } else { "20" };
        format!("[[rule]]\nname = \"{name}\"\n{listen}\ntarget = \"h:{width}\"\n")
    };
    let clashes = |a: &str, b: &str| !found(&[("a.toml", &(rule("a", a) + &rule("b", b)))]).is_empty();
    let (one, other) = ("listen_address = \"10.0.0.1\"\n", "listen_address = \"10.0.0.2\"\n");
    let (v4, v6) = ("listen_address = \"0.0.0.0\"\n", "listen_address = \"::\"\n");
    let on = |address: &str| format!("{address}listen_port = 20");
    assert!(clashes(&on(""), &on("")));
    assert!(clashes(&on(""), "listen_ports = \"20-30\""));
    assert!(clashes(&on(one), &on("")) && clashes(&on(""), &on(one)) && clashes(&on(v6), &on("")));
    assert!(clashes(&on(one), &on(v4)) && clashes(&on(v4), &on(one)));
    assert!(!clashes(&on(one), &on(other)) && !clashes(&on(one), &on(v6)) && !clashes(&on(v4), &on(v6)));
    assert!(!clashes(&on(""), "listen_port = 21"));
    assert!(!clashes(&on(""), "enabled = false\nlisten_port = 20"));
}

#[test]
fn disabled_rules_are_kept_apart_and_still_have_one_name() {
    let off = WEB.replace("web", "off") + "enabled = false\n";
    let set = valid(&[("a.toml", WEB), ("b.toml", &off)]);
    assert!(set.edges[&EdgeName::local()].contains_key("web"));
    assert!(set.disabled[&EdgeName::local()].contains_key("off"));
    let same = WEB.to_owned() + "enabled = false\n";
    assert_eq!(found(&[("a.toml", WEB), ("b.toml", &same)]), ["duplicate_rule b.toml:2:8"]);
}

#[test]
fn exactly_one_of_each_pair_and_both_places_named() {
    let both = WEB.to_owned() + "listen_ports = \"1-2\"\ntargets = []\n";
    let checked = check(&[("a.toml", &both)]);
    let codes: Vec<_> = checked.diagnostics.iter().map(|found| (found.code, found.related.len())).collect();
    assert_eq!(codes, [(TreeCode::ConflictingKeys, 1), (TreeCode::ConflictingKeys, 1)]);
    assert_eq!(found(&[("a.toml", "[[rule]]\nname = \"a\"\n")]), ["missing_key a.toml:2:8", "missing_key a.toml:2:8"]);
    let target = "[[rule]]\nname = \"a\"\nlisten_port = 1\ntargets = [{ host = \"h\" }]\n";
    assert_eq!(found(&[("a.toml", target)]), ["missing_key a.toml:4:21"]);
}

#[test]
fn problems_between_the_parts_point_at_the_value() {
    let narrow = "[[rule]]\nname = \"a\"\nlisten_ports = \"1-3\"\ntarget = \"h:1-2\"\n";
    assert_eq!(found(&[("a.toml", narrow)]), ["range_width_mismatch a.toml:4:10"]);
    let wide = "[[rule]]\nname = \"a\"\nlisten_ports = \"1-1025\"\ntarget = \"h:1-1025\"\n";
    assert_eq!(found(&[("a.toml", wide)]), ["range_too_wide a.toml:3:16"]);
    let nine: Vec<String> = (1..=9).map(|host| format!("{{ host = \"h{host}\", port = 1 }},")).collect();
    let nine = nine.concat();
    let many = format!("[[rule]]\nname = \"a\"\nlisten_port = 1\ntargets = [{nine}]\n");
    assert_eq!(found(&[("a.toml", &many)]), ["too_many_targets a.toml:4:11"]);
}

#[test]
fn a_timeout_above_its_interval_has_a_place() {
    let timeout = WEB.to_owned() + "health = { timeout_ms = 9000, interval_secs = 5 }\n";
    assert_eq!(found(&[("a.toml", &timeout)]), ["out_of_range a.toml:5:25"]);
}

#[test]
fn udp_keys_of_defaults_pass_over_tcp_rules_and_on_one_itself_are_not_applicable() {
    valid(&[("a.toml", &format!("[defaults]\nudp_max_flows = 7\n{WEB}"))]);
    assert_eq!(found(&[("a.toml", &(WEB.to_owned() + "udp_max_flows = 7\n"))]), ["not_applicable a.toml:5:1"]);
    let both = format!("[defaults]\nudp_max_flows = 7\nidle_timeout_secs = 9\n{WEB}protocol = \"udp\"\n");
    let set = valid(&[("a.toml", &both)]);
    let rule = &set.edges.values().next().and_then(|rules| rules.values().next()).expect("one rule").rule;
    assert_eq!((rule.udp_max_flows, rule.idle_timeout), (7, None));
}

#[test]
fn a_mistake_in_defaults_is_one_finding_however_many_rules_inherit_it() {
    let other = WEB.replace("web", "b").replace("8443", "1");
    let text = format!("[defaults]\nhealth = {{ kind = \"tcp\", path = \"/x\" }}\nedges = [\"e*\"]\n{WEB}{other}");
    assert_eq!(found(&[("a.toml", &text)]), ["not_applicable a.toml:2:26", "no_edge_matches a.toml:3:10"]);
}

#[test]
fn an_empty_tree_is_an_error_without_a_place_and_a_broken_one_is_not_called_empty() {
    assert_eq!(found(&[]), ["empty_tree"]);
    assert_eq!(found(&[("a.toml", "# nothing\n")]), ["empty_tree"]);
    assert!(!found(&[("a.toml", "[[rule\n")]).contains(&"empty_tree".to_owned()));
}

#[test]
fn what_follows_from_a_syntax_error_is_not_reported_beside_it() {
    let text = "[[rule]]\nowner = 7\nname = \"a\"\nlisten_port =\ntarget 10.0.0.5\n";
    let found = found(&[("a.toml", text)]);
    assert!(found.iter().filter(|line| line.starts_with("syntax")).count() >= 2, "{found:?}");
    assert_eq!(
        found.iter().filter(|line| !line.starts_with("syntax")).collect::<Vec<_>>(),
        ["wrong_type a.toml:2:9"],
        "{found:?}"
    );
}

#[test]
fn problems_of_reading_count_as_errors() {
    let mut tree = tree(&[("a.toml", WEB)]);
    tree.problems.push(Diagnostic::without_place(TreeCode::NotUtf8, "b.toml", "not UTF-8"));
    let checked = check_tree(&tree, &CheckLimits::default());
    assert!(checked.ruleset.is_none());
}

#[test]
fn global_is_merged_and_stats_is_warned_about() {
    let global = format!("[global]\nlabel = \"e\"\nlog_format = \"json\"\n[stats]\nenabled = true\n{WEB}");
    let checked = check(&[("a.toml", &global), ("b.toml", "[global]\nlabel = \"e\"\nshutdown_drain_secs = 9\n")]);
    assert_eq!(checked.diagnostics.len(), 1);
    assert_eq!(checked.diagnostics[0].severity, Severity::Warning);
    let global = checked.ruleset.expect("a warning is no error").global;
    assert_eq!((global.label.as_deref(), global.shutdown_drain_secs), (Some("e"), Some(9)));
    let other = WEB.to_owned() + "[global]\nlabel = \"f\"\n";
    assert_eq!(found(&[("a.toml", "[global]\nlabel = \"e\"\n"), ("b.toml", &other)]), ["conflicting_keys b.toml:6:9"]);
}

#[test]
fn the_fleet_file_holds_rails_and_no_rules() {
    let set = valid(&[("a.toml", WEB), ("portunus.toml", "[rails]\nmax_removed_rules = 3\n")]);
    assert_eq!(set.rails, Rails { max_removed_rules: 3, ..Rails::default() });
    assert_eq!(found(&[("a.toml", WEB), ("portunus.toml", "[[rule]]\n")]), ["unknown_key portunus.toml:1:3"]);
    let rollout = "[rollout]\nwaves = [{ edge_labels = { a = \"b\" }, soak_secs = -1 }]\n";
    assert_eq!(
        found(&[("a.toml", WEB), ("portunus.toml", rollout)]),
        ["no_edge_matches portunus.toml:2:9", "invalid_value portunus.toml:2:9", "out_of_range portunus.toml:2:51"]
    );
    assert_eq!(tree_ignore("[tree]\nignore = [\"docs/**\", \"[\"]\nx = 1\n"), ["docs/**"]);
    assert_eq!(tree_ignore("[tree\n"), Vec::<String>::new());
}

#[test]
fn a_standalone_file_of_upstream_is_read_as_it_stands() {
    let text = "[global]\nlog_level = \"portunus=debug,info\"\nlog_format = \"pretty\"\n\n[stats]\nrefresh_ms = 1000\n\n\
                [defaults]\nprotocol = \"tcp\"\nudp_max_flows = 4096\nudp_flow_idle_secs = 60\nprefer_ipv6 = false\n\n\
                [[rule]]\nname = \"ssh\"\nprotocol = \"tcp\"\nlisten_port = 2222\ntarget = \"10.0.0.5:22\"\n\n\
                [[rule]]\nname = \"range\"\nlisten_ports = \"8000-8009\"\ntarget = \"10.0.0.10:8000-8009\"\n";
    let checked = check(&[("standalone.toml", text)]);
    assert_eq!(checked.ruleset.expect("valid").rule_count(), 2);
}

#[test]
fn many_rules_on_one_port_are_one_finding_each() {
    let text: String = (0..3000).map(|number| WEB.replace("web", &format!("r{number}"))).collect();
    let found = check(&[("a.toml", &text)]).diagnostics;
    // The last stands for those that are not listed.
    assert_eq!((found.len(), found.last().map(|one| one.more)), (1001, Some(1999)));
    assert!(found.iter().all(|one| one.code == TreeCode::PortClash));
}

#[test]
fn health_keys_are_in_force() {
    for keys in [
        "health = {}",
        "health = { kind = \"none\" }",
        "health = { kind = \"icmp\", address = \"10.9.8.7\" }",
        "health = { send = \"PING\", expect = \"PONG\" }",
        "health_check_interval_secs = 5",
        "on_target_down = \"reset\"",
    ] {
        valid(&[("a.toml", &format!("{WEB}{keys}\n"))]);
    }
}

#[test]
fn a_memo_finds_what_checking_without_one_finds_and_parses_only_what_changed() {
    let file = |name: &str, port: u16| {
        let text = format!("[[rule]]\nname = \"{name}\"\nlisten_port = {port}\ntarget = \"10.0.0.1:80\"\n");
        SourceFile::new(format!("{name}.toml"), text)
    };
    let tree = |ports: [u16; 3]| {
        let files = ["a", "b", "c"].into_iter().zip(ports).map(|(name, port)| file(name, port));
        TreeFiles { files: files.collect(), problems: Vec::new() }
    };
    let mut memo = Memo::default();
    let mut parsed = Vec::new();
    // The third clashes over files that did not change, the fourth has an error of its own, the sixth one file less.
    let mut trees = vec![tree([1, 2, 3]), tree([1, 2, 4]), tree([1, 2, 1]), tree([1, 0, 1]), tree([1, 2, 3])];
    trees.push(TreeFiles { files: tree([1, 2, 3]).files[..2].to_vec(), problems: Vec::new() });
    trees.push(tree([1, 2, 3]));
    for tree in &trees {
        let before = memo.parsed();
        let (again, anew) =
            (check_tree_again(tree, &CheckLimits::default(), &mut memo), check_tree(tree, &CheckLimits::default()));
        assert_eq!(format!("{again:?}"), format!("{anew:?}"));
        parsed.push(memo.parsed() - before);
    }
    assert_eq!(parsed, [3, 1, 1, 1, 2, 0, 1]);
}

#[test]
fn a_rule_of_a_file_that_did_not_change_is_the_same_in_memory_and_its_edges_are_looked_up_anew() {
    let tree = |edges: &[&str], port: u16| {
        let inventory = edges.iter().map(|name| format!("[[edge]]\nname = \"{name}\"\n")).collect::<Vec<_>>().concat();
        let rule = |name: &str, port: u16| {
            format!("[[rule]]\nname = \"{name}\"\nedges = [\"*\"]\nlisten_port = {port}\ntarget = \"10.0.0.1:80\"\n")
        };
        let files = [("a", rule("a", 1)), ("b", rule("b", port)), ("edges", inventory)];
        let files = files.map(|(name, text)| SourceFile::new(format!("{name}.toml"), text));
        TreeFiles { files: files.into(), problems: Vec::new() }
    };
    let rule = |checked: &Checked, edge: &str, name: &str| {
        checked.ruleset.as_ref().and_then(|ruleset| Some(ruleset.edges.get(edge)?.get(name)?.rule.clone()))
    };
    let mut memo = Memo::default();
    let limits = CheckLimits::default();
    let first = check_tree_again(&tree(&["x"], 2), &limits, &mut memo);
    let second = check_tree_again(&tree(&["x", "y"], 3), &limits, &mut memo);
    let (before, after) = (rule(&first, "x", "a").expect("there"), rule(&second, "x", "a").expect("there"));
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(rule(&second, "y", "b").expect("the new edge has it").listen.ports.first(), 3);
    assert_eq!(rule(&second, "y", "a").as_ref(), Some(&before));
    // Narrower limits are no reason to trust what wider ones let through.
    let narrow = CheckLimits { range_rule_max_ports: 0, ..limits };
    let third = check_tree_again(&tree(&["x", "y"], 3), &narrow, &mut memo);
    assert_eq!(third.diagnostics.len(), check_tree(&tree(&["x", "y"], 3), &narrow).diagnostics.len());
    assert!(third.ruleset.is_none());
}

#[test]
fn a_misspelt_key_is_the_only_error_it_causes() {
    for (right, wrong) in [
        ("listen_port", "listen_prot"),
        ("listen_port", "listenPort"),
        ("listen_port", "port"),
        ("target", "tagret"),
        ("target", "backend"),
        ("name", "nmae"),
        ("[[rule]]", "[[rules]]"),
    ] {
        let text = WEB.replacen(right, wrong, 1);
        let checked = check(&[("a.toml", &text)]);
        let [only] = &*checked.diagnostics else { panic!("{wrong}: {:?}", checked.diagnostics) };
        let meant = format!("did you mean `{}`?", right.trim_matches(['[', ']']));
        assert_eq!((only.code, only.help.as_deref()), (TreeCode::UnknownKey, Some(&*meant)), "{wrong}");
    }
}

#[test]
fn an_empty_tree_gets_a_rule_to_paste_that_is_valid() {
    let checked = check(&[]);
    let help = checked.diagnostics[0].help.clone().expect("a hint");
    let (_, rule) = help.split_once('\n').expect("text to paste");
    assert_eq!(valid(&[("web.toml", rule)]).edges[&EdgeName::local()].len(), 1);
}

#[test]
fn a_missing_quote_is_one_error_that_says_what_to_write() {
    for (line, hint) in [
        ("name = \"web", "a quote is missing: `name = \"web\"`"),
        ("name = web\"", "a quote is missing: `name = \"web\"`"),
        ("name = 'web", "a quote is missing: `name = \"web\"`"),
        ("name = web", "text is written in quotes: `name = \"web\"`"),
        ("target = 10.0.0.1:80", "text is written in quotes: `target = \"10.0.0.1:80\"`"),
        ("target = h:443 # here", "text is written in quotes: `target = \"h:443\"`"),
        ("listen_port = 8080 - 8090", "a range of ports is written as `listen_ports = \"8080-8090\"`"),
        ("targets = [{ host = \"h, port = 80 }]", "a quote seems to be missing in this line"),
        ("description = \"it's \" here", ""),
        ("listen_port =", ""),
    ] {
        let checked = check(&[("a.toml", &format!("[[rule]]\n{line}\n"))]);
        let syntax: Vec<_> = checked.diagnostics.iter().filter(|found| found.code == TreeCode::Syntax).collect();
        let [only] = &*syntax else { panic!("{line}: {:?}", checked.diagnostics) };
        assert_eq!(only.help.as_deref().unwrap_or_default(), hint, "{line}");
    }
    for (path, text) in [
        ("a.yaml", "rule:\n  - name: \"web\n    listen_port: 80\n"),
        ("a.json", "{\"rule\": [{\"name\": \"web, \"x\": 1}]}"),
    ] {
        let help = check(&[(path, text)]).diagnostics[0].help.clone();
        assert_eq!(help.as_deref(), Some("a quote seems to be missing in this line"), "{path}");
    }
}

#[test]
fn a_tree_has_at_most_so_many_rules_and_its_edges_too() {
    let found = |files: &[(&str, &str)]| -> Vec<String> {
        let limits = CheckLimits { max_rules: 4, ..CheckLimits::default() };
        let checked = check_tree(&tree(files), &limits);
        let again = check_tree_again(&tree(files), &limits, &mut Memo::default());
        assert_eq!(checked.diagnostics, again.diagnostics);
        let place = |one: &Diagnostic| format!("{} {}:{}", one.code, one.path, one.position().map_or(0, |at| at.line));
        checked.diagnostics.iter().map(place).collect()
    };
    let rules = |first: u16, count: u16, more: &str| -> String {
        let rule =
            |port| format!("[[rule]]\nname = \"r{port}\"\nlisten_port = {port}\ntarget = \"10.0.0.5:443\"\n{more}\n");
        (first..first + count).map(rule).collect()
    };
    let none: [String; 0] = [];
    assert_eq!(found(&[("a.toml", &rules(1001, 2, "")), ("b.toml", &rules(2001, 2, ""))]), none);
    // The file behind the one that is above the limit is not read.
    let above = [("a.toml", &*rules(1001, 2, "")), ("b.toml", &rules(2001, 3, "")), ("c.toml", "= =")];
    assert_eq!(found(&above), ["file_too_large b.toml:11"]);

    let on_both = rules(1001, 2, "edges = [\"one\", \"two\"]");
    assert_eq!(found(&[("a.toml", &on_both)]), none);
    assert_eq!(found(&[("a.toml", &on_both), ("b.toml", &rules(2001, 1, ""))]), ["file_too_large b.toml:2"]);
}
