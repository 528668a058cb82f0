//! Changed rules in every syntax, and what stays as it was.

use super::*;

fn document(path: &str, text: &str) -> FileDocument {
    FileDocument { path: path.into(), text: text.into() }
}

fn origin(path: &str, line: u32, column: u32) -> Origin {
    Origin { file: path.into(), line, column }
}

fn target() -> NewTarget {
    NewTarget { host: "b.example.org".to_owned(), ports: "443".to_owned(), ..NewTarget::default() }
}

/// The file with one more target in the rule that stands there.
fn added(path: &str, text: &str, (line, column): (u32, u32)) -> String {
    let edit = RuleEdit::Target(target());
    match edited(&[document(path, text)], &origin(path, line, column), &edit) {
        Ok(edited) => {
            let whole = edited.after.text.to_string();
            assert!(whole.contains(&edited.new_rule), "{whole}");
            whole
        }
        Err(error) => error.to_string(),
    }
}

const TOML: &str = "# fleet\n[[rule]]\nname = \"web\"   # the shop\nlisten_port = 443\ntarget = \"[::1]:443\" # main\n\n\
                    [rule.health]\nkind = \"tcp\"\n\n# next\n[[rule]]\nname = \"db\"\nlisten_port = 5432\n\
                    targets = [{ host = \"db\", port = 5432 }]\n";

#[test]
fn a_single_target_becomes_a_list_and_its_comment_stays() {
    let text = added("a.toml", TOML, (2, 1));
    let expected =
        "targets = [\n  { host = \"::1\", port = 443 },\n  { host = \"b.example.org\", port = 443 },\n] # main\n";
    assert_eq!(text, TOML.replace("target = \"[::1]:443\" # main\n", expected));
    let range = "[[rule]]\nname = \"r\"\nlisten_ports = \"10-12\"\ntarget = \"a:20-22\"";
    let edit = RuleEdit::Target(NewTarget { ports: "30-32".to_owned(), weight: Some(5), ..target() });
    let edited = edited(&[document("r.toml", range)], &origin("r.toml", 1, 1), &edit).expect("edited");
    assert!(edited.new_rule.ends_with("\n  { host = \"a\", ports = \"20-22\" },\n  { host = \"b.example.org\", ports = \"30-32\", weight = 5 },\n]"), "{edited:?}");
}

#[test]
fn a_patch_of_the_rule_alone_shows_nothing_of_others() {
    let source = Source::unversioned(schema::canonical::Digest::default());
    let text = "# of ann\n[[rule]]\nname = \"web\"\nlisten_port = 1\ntarget = \"a:1\"\n\n[[rule]]\nname = \"secret\"\n";
    let edit = RuleEdit::Text("[[rule]]\nname = \"web\"\nlisten_port = 1\ntarget = \"b:1\"".to_owned());
    let change = edited(&[document("a.toml", text)], &origin("a.toml", 2, 1), &edit).expect("edited");
    let patch = change.patch_of_rule(&source).expect("a patch");
    let expected = "@@ -2,6 +2,6 @@\n [[rule]]\n name = \"web\"\n listen_port = 1\n-target = \"a:1\"\n+target = \"b:1\"\n \n [[rule]]\n";
    assert!(patch.ends_with(expected) && patch.starts_with("diff --git a/a.toml b/a.toml\n"), "{patch}");
    // A change right above somebody else's line cannot be placed without it.
    let close = text.replace("\n\n[[rule]]", "\n# of bob\n[[rule]]");
    let change = edited(&[document("a.toml", &close)], &origin("a.toml", 2, 1), &edit).expect("edited");
    assert_eq!(change.patch_of_rule(&source), None);
    // At the end of the file nothing follows.
    let last = &text[..text.find("\n[[rule]]\nname = \"secret\"").expect("the next rule")];
    let change = edited(&[document("a.toml", last)], &origin("a.toml", 2, 1), &edit).expect("edited");
    assert!(change.patch_of_rule(&source).is_some());
}

#[test]
fn a_list_of_targets_grows_as_it_is_written() {
    let one_line = added("a.toml", TOML, (11, 1));
    assert!(
        one_line.contains("[{ host = \"db\", port = 5432 }, { host = \"b.example.org\", port = 443 }]\n"),
        "{one_line}"
    );
    for (list, expected) in [
        ("[\n    { host = \"a\", port = 1 }, # first\n]", "[\n    { host = \"a\", port = 1 }, # first\n    NEW,\n]"),
        ("[\n    { host = \"a\", port = 1 } # first\n]", "[\n    { host = \"a\", port = 1 }, # first\n    NEW\n]"),
        ("[\r\n\t{ host = \"a\", port = 1 }\r\n]", "[\r\n\t{ host = \"a\", port = 1 },\r\n\tNEW\r\n]"),
        ("[ { host = \"a\", port = 1 } ]", "[ { host = \"a\", port = 1 }, NEW ]"),
    ] {
        let text = format!("[[rule]]\r\nname = \"w\"\r\nlisten_port = 1\r\ntargets = {list}");
        let new = "{ host = \"b.example.org\", port = 443 }";
        let is_windows = list.contains('\r');
        let text = if is_windows { text } else { text.replace("\r\n", "\n") };
        assert!(added("a.toml", &text, (1, 1)).ends_with(&expected.replace("NEW", new)), "{list}");
    }
}

#[test]
fn tables_with_headers_get_one_more() {
    let text = "[[rule]]\nname = \"w\"\nlisten_port = 1\n\n[[rule.targets]]\nhost = \"a\"\nport = 1 # one\n\n# other\n[[rule]]\nname = \"x\"\n\
                listen_port = 2\ntarget = \"a:1\"\n";
    let expected = text.replace("# one\n", "# one\n\n[[rule.targets]]\nhost = \"b.example.org\"\nport = 443\n");
    assert_eq!(added("a.toml", text, (1, 1)), expected);
}

#[test]
fn json_and_yaml_get_one_more_in_their_own_form() {
    let json = "{\n  \"rule\": [\n    {\n      \"name\": \"w\",\n      \"listen_port\": 1,\n      \"target\": \"a:1\"\n    }\n  ]\n}\n";
    let expected = "      \"targets\": [\n        {\"host\": \"a\", \"port\": 1},\n        {\"host\": \"b.example.org\", \"port\": 443}\n      ]\n";
    assert_eq!(added("a.json", json, (3, 5)), json.replace("      \"target\": \"a:1\"\n", expected));
    let short = "{\"rule\": [{\"name\": \"w\", \"listen_port\": 1, \"targets\": [{\"host\": \"a\", \"port\": 1}]}]}";
    let expected = short.replace("1}]}", "1}, {\"host\": \"b.example.org\", \"port\": 443}]}");
    assert_eq!(added("a.json", short, (1, 11)), expected);
    let yaml = "rule:\n  - name: w\n    listen_port: 1\n    target: a:1 # main\n  - name: x\n    listen_port: 2\n    targets:\n      - host: a\n        port: 1\n\n# end\n";
    let one = added("a.yaml", yaml, (2, 5));
    let expected =
        "    targets:\n      - { host: \"a\", port: 1 }\n      - { host: \"b.example.org\", port: 443 } # main\n";
    assert_eq!(one, yaml.replace("    target: a:1 # main\n", expected));
    let other = added("a.yaml", yaml, (5, 5));
    assert_eq!(
        other,
        yaml.replace("        port: 1\n", "        port: 1\n      - host: \"b.example.org\"\n        port: 443\n")
    );
}

#[test]
fn the_text_of_a_rule_is_whole_and_nothing_of_another() {
    let file = SourceFile::new("a.toml", TOML);
    let first = rule_text(&file, &origin("a.toml", 2, 1)).expect("there");
    assert!(first.text(&file).starts_with("[[rule]]\nname = \"web\"") && first.text(&file).ends_with("kind = \"tcp\""));
    let last = rule_text(&file, &origin("a.toml", 11, 1)).expect("there");
    assert!(last.text(&file).ends_with("port = 5432 }]") && last.line == 11);
    let scattered = "[[rule]]\nname = \"a\"\nlisten_port = 1\ntarget = \"a:1\"\n[defaults]\nowner = \"x\"\n[rule.health]\nkind = \"tcp\"\n";
    let file = SourceFile::new("s.toml", scattered);
    assert!(matches!(rule_text(&file, &origin("s.toml", 1, 1)), Err(NoPlace::Scattered { .. })));
    assert!(matches!(rule_text(&file, &origin("s.toml", 2, 1)), Err(NoPlace::Missing { .. })));
    let yaml = SourceFile::new("a.yaml", "rule:\n  - name: w\n    target: a:1\n\n  # next\n  - name: x\n");
    let text = rule_text(&yaml, &origin("a.yaml", 2, 5)).expect("there");
    assert_eq!(text.text(&yaml), "  - name: w\n    target: a:1");
}

#[test]
fn an_edit_keeps_the_rest_and_the_line_ends() {
    let text = TOML.replace('\n', "\r\n");
    let edit = RuleEdit::Text("[[rule]]\r\nname = \"web\"\nlisten_port = 444\ntarget = \"a:1\"\n\n".to_owned());
    let edited = edited(&[document("a.toml", &text)], &origin("a.toml", 2, 1), &edit).expect("edited");
    let expected = "# fleet\r\n[[rule]]\r\nname = \"web\"\r\nlisten_port = 444\r\ntarget = \"a:1\"\r\n\r\n# next\r\n";
    assert!(edited.after.text.starts_with(expected), "{:?}", edited.after.text);
    assert!(edited.after.text.ends_with(&text[text.find("# next").expect("there")..]));
    let source =
        Source { folder: Some("rules".to_owned()), ..Source::unversioned(schema::canonical::Digest::default()) };
    let patch = edited.patch(&source);
    assert!(
        patch.starts_with("diff --git a/rules/a.toml b/rules/a.toml\n") && patch.contains("\n+listen_port = 444\r\n")
    );
    assert!(edited.shown().starts_with("@@ -2,"), "{}", edited.shown());
}

#[test]
fn a_rule_without_text_is_removed() {
    let edit = RuleEdit::Text(String::new());
    let edited = edited(&[document("a.toml", TOML)], &origin("a.toml", 2, 1), &edit).expect("edited");
    assert!(edited.after.text.starts_with("# fleet\n\n# next\n[[rule]]\nname = \"db\""), "{:?}", edited.after.text);
}
