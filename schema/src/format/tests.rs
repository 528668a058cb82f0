//! What formatting does, by example; its laws are in tests/laws.rs.

use super::*;

fn formatted(text: &str) -> String {
    let once = format(&SourceFile::new("a.toml", text)).expect("the test gives valid TOML");
    let twice = format(&SourceFile::new("a.toml", once.clone())).expect("formatting keeps TOML valid");
    assert_eq!(twice, once, "formatting is idempotent");
    once
}

#[test]
fn keys_get_their_order_and_tables_their_distance() {
    let text = "\n\n[[rule]]   # the web\n  target=\"h:1\"\n  name   =   \"web\"   # short\n[rule.health]\nrise=1\n\
                kind = 'tcp'\n\n\n\n[[ rule ]]\nlisten_port = 1\nname=\"b\"";
    assert_eq!(
        formatted(text),
        "[[rule]] # the web\nname = \"web\" # short\ntarget = \"h:1\"\n\n[rule.health]\nkind = 'tcp'\nrise = 1\n\n\
         [[rule]]\nname = \"b\"\nlisten_port = 1\n"
    );
}

#[test]
fn comments_move_with_the_item_below_or_beside_them() {
    let text = "# file\n\n# first rule\n[[rule]]\n# where to\n#   go\ntarget = \"h:1\" # beside\n\n# who\nname = \"a\"\n\
                # at the end of a\n\n# second rule\n[[rule]]\nname = \"b\"\n\n\n# the end";
    assert_eq!(
        formatted(text),
        "# file\n\n# first rule\n[[rule]]\n# who\nname = \"a\"\n# where to\n#   go\ntarget = \"h:1\" # beside\n\n\
         # at the end of a\n\n# second rule\n[[rule]]\nname = \"b\"\n\n# the end\n"
    );
}

#[test]
fn lists_keep_their_lines_and_their_comments() {
    let text = "[[rule]]\nedges=[\"a\",'b' ,]\ntargets = [ # all\n{port=1,host=\"x\"}, # one\n   # two is\n\n  # new\n\
                { host = \"y\" , port = 2 } # two\n # last\n]\n";
    assert_eq!(
        formatted(text),
        "[[rule]]\nedges = [\"a\", 'b']\ntargets = [ # all\n  { host = \"x\", port = 1 }, # one\n  # two is\n  # new\n  \
         { host = \"y\", port = 2 }, # two\n  # last\n]\n"
    );
}

#[test]
fn dotted_keys_and_unknown_ones_and_empty_files_survive() {
    assert_eq!(
        formatted("[[rule]]\nzzz = 1\nhealth . rise=2 # r\n# k\nhealth.kind = \"tcp\"\naaa = {}\nname = \"x\"\n"),
        "[[rule]]\nname = \"x\"\n# k\nhealth.kind = \"tcp\"\nhealth.rise = 2 # r\nzzz = 1\naaa = {}\n"
    );
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("\n\n# only this\n\n\n"), "# only this\n");
}

#[test]
fn strings_are_never_touched() {
    let text = "[[rule]]\nname = \"a\"\ndescription = \"\"\"\n  # no comment   \n\tx\"\"\"\nowner = 'it''s'\n";
    let file = SourceFile::new("a.toml", text.replace("'it''s'", "\"#\""));
    assert_eq!(formatted(&file.text), *file.text);
}

#[test]
fn a_broken_file_gives_its_syntax_errors() {
    let errors = format(&SourceFile::new("a.toml", "a = \nb = [\n")).expect_err("broken");
    assert!(!errors.is_empty() && errors.iter().all(|error| error.code == TreeCode::Syntax));
}

#[test]
fn line_endings_become_line_feeds() {
    assert_eq!(formatted("[[rule]]\r\nname='a'\r\n# c\r\n"), "[[rule]]\nname = 'a'\n# c\n");
}

proptest::proptest! {
    #[test]
    fn the_check_afterwards_is_never_needed(at in 0_usize..1600, length in 0_usize..30, junk in "[\\[\\]{},=#'\"\n a.]{0,3}") {
        let full = include_str!("../../tests/full.toml");
        let (start, end) = (at.min(full.len()), (at + length).min(full.len()));
        let file = SourceFile::new("a.toml", format!("{}{junk}{}", &full[..start], &full[end..]));
        let mut diagnostics = Findings::new();
        let before = text::parse(&file, &mut diagnostics).expect("TOML recovers");
        if let (true, Ok(document)) = (diagnostics.made() == 0, file.text.parse::<DocumentMut>()) {
            let formatted = canonical(document, &root::TABLE);
            proptest::prop_assert!(keeps_all(&file, &before, &formatted), "{formatted}");
        }
    }
}
