//! What TOML means, checked against another parser, and that its errors are bounded.

use super::super::{MAX_KEY, Value};
use super::*;

fn parsed(text: &str) -> (String, Vec<crate::diagnostic::Diagnostic>) {
    let file = SourceFile::new("a.toml", text);
    let mut diagnostics = Findings::new();
    let node = format!("{:?}", parse(&file, &mut diagnostics));
    (node, diagnostics.into_sorted())
}

#[test]
fn every_syntax_error_of_a_file_is_found_in_one_run() {
    let (_, found) = parsed("a = \nb = 1\nc = [1,\nd = \"x\ne = 2\n");
    assert!(found.len() >= 2, "{found:?}");
}

#[test]
fn a_number_too_large_for_64_bits_is_no_panic() {
    let file = SourceFile::new("a.toml", "a = 99999999999999999999\nb = 0xff\n");
    let Value::Table(entries) = parse(&file, &mut Findings::new()).value else { panic!("a table") };
    assert_eq!(entries[0].node.value, Value::Float(f64::MAX));
    assert_eq!(entries[1].node.value, Value::Integer(255));
}

#[test]
fn what_follows_a_broken_line_is_still_read() {
    let (node, found) = parsed("[[rule\nname = \"a\"\n[[rule]]\nname = {x = 1\nname2 = [1, 2\n[edge]\nb = 1\n");
    assert!(!found.is_empty());
    for key in ["rule", "name", "edge", "\"b\""] {
        assert!(node.contains(key), "{key} in {node}");
    }
}

#[test]
fn keys_and_brackets_are_bounded() {
    for text in [
        format!("{}a = 1\n", "a.".repeat(100_000)),
        format!("[{}a]\n", "a.".repeat(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a = ".repeat(100_000)),
    ] {
        let (_, found) = parsed(&text);
        assert!(!found.is_empty());
        assert!(found.len() <= crate::findings::MAX_FINDINGS + 1);
    }
}

#[test]
fn errors_beyond_the_bound_are_counted_whatever_they_are() {
    for line in ["= = =\n", "a = 1\n", "b = 01\n", "[c]\n", "\"\\q\" = 1\n", "d = \"\u{1}\"\n"] {
        let (_, found) = parsed(&line.repeat(50_000));
        assert_eq!(found.len(), crate::findings::MAX_FINDINGS + 1, "{line}");
        assert!(found.last().expect("not empty").more >= 48_000, "{line}");
    }
}

/// The same values by a parser that takes a whole file at once; `None` where it finds an error.
fn by_another(text: &str) -> Option<Value<'_>> {
    use toml::de::{DeTable, DeValue};
    fn table(table: DeTable<'_>) -> Value<'_> {
        let mut entries: Vec<_> = table
            .into_iter()
            .map(|(key, value)| {
                let (key_span, span) = (key.span().into(), value.span().into());
                let node = Node { span, value: of(value.into_inner()) };
                super::super::Entry { key: key.into_inner(), key_span, node }
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        Value::Table(entries)
    }
    fn of(value: DeValue<'_>) -> Value<'_> {
        match value {
            DeValue::String(text) => Value::String(text),
            DeValue::Boolean(flag) => Value::Bool(flag),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Float(f64::MAX), Value::Integer)
            }
            DeValue::Float(number) => number.as_str().parse().map_or(Value::Float(f64::NAN), Value::Float),
            DeValue::Array(items) => Value::Array(
                items.into_iter().map(|item| Node { span: item.span().into(), value: of(item.into_inner()) }).collect(),
            ),
            DeValue::Table(inner) => table(inner),
        }
    }
    let (found, errors) = DeTable::parse_recoverable(text);
    errors.is_empty().then(|| table(found.into_inner()))
}

fn agrees(text: &str) -> Result<(), String> {
    let file = SourceFile::new("a.toml", text);
    let mut diagnostics = Findings::new();
    let ours = parse(&file, &mut diagnostics).value;
    let found = diagnostics.into_sorted();
    let ours = found.is_empty().then_some(ours);
    let theirs = by_another(text);
    let same = format!("{ours:?}") == format!("{theirs:?}");
    if same { Ok(()) } else { Err(format!("{text:?}\nours   {ours:?} {found:?}\ntheirs {theirs:?}")) }
}

#[test]
fn tables_are_made_as_the_language_says() {
    for text in [
        "",
        "a = 1\n[b]\nc = 2\n[b.d]\ne = 3\n[[f]]\ng = 1\n[[f]]\n[f.h]\n[[f.i]]\n[[f.i]]\n",
        "[a.b]\nc = 1\n[a]\nd = 2\n",
        "[a]\n[a]\n",
        "[a.b]\n[a]\nb.c = 1\n",
        "a.b = 1\na.c = 2\n[a]\n",
        "[x]\na.b = 1\n[x.a.d]\n",
        "[x]\na.b = 1\n[x.a]\n",
        "a = {b = 1}\na.c = 2\n",
        "a = {b.c = 1, b.d = 2}\n",
        "a = {b = {}, b.d = 2}\n",
        "a = {b.c = {}, b.c.d = 2}\n",
        "a = []\n[[a]]\n",
        "a = 1\na.b = 2\n",
        "[[a.b]]\n[a]\nb.c = 1\n",
        "a = [{b = 1}, {b = [1, {}]},\n  2]\nc = [\n# no\n]\n",
        "\"a b\".'c' = \"\"\"x\ny\"\"\"\n",
        "a = 1_000\nb = 0x_f\nc = 1e3\nd = -inf\ne = 2020-01-01\nf = true\n",
        "a = 1\r\nb = 'x'\r\n",
        "a = 1 b = 2\n",
        "a\n",
        "= 1\n",
        "[]\n",
        "a = [1 2]\n",
        "\u{feff}a = 1\n",
    ] {
        agrees(text).expect("both read it alike");
    }
}

#[test]
fn keys_and_values_have_a_bound() {
    let codes = |text: String| -> Vec<crate::codes::TreeCode> {
        let mut found = Findings::new();
        parse(&SourceFile::new("a.toml", text), &mut found);
        found.into_sorted().iter().map(|one| one.code).collect()
    };
    for quote in ["", "\""] {
        let long = |bytes: usize| format!("{quote}{}{quote} = 1\n", "k".repeat(bytes - 2 * quote.len()));
        assert!(codes(long(MAX_KEY)).is_empty());
        assert_eq!(codes(long(MAX_KEY + 1)), [crate::codes::TreeCode::Syntax]);
    }
    let values = |count: usize| format!("a = [{}1]\n", "1,".repeat(count));
    assert!(codes(values(MAX_VALUES - 4)).is_empty());
    for count in [MAX_VALUES, 2 * MAX_VALUES] {
        assert_eq!(codes(values(count)), [crate::codes::TreeCode::FileTooLarge]);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4000))]

    #[test]
    fn any_text_means_the_same_to_another_parser(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "a", "b", "c", ".", " = ", "=", "\n", "\n", "\n[", "]\n", "\n[[", "]]\n", "[", "]", "{", "}", ", ", ",", " ",
            "1", "\"x\"", "'y'", "true", "\na = 1\n", "\n[a]\n", "\n[a.b]\n", "\n[[a]]\n", "\nb.c = 1\n", "# c\n",
            "a = {b = 1}", "\"\"\"", "\"",
        ]), 0..14),
    ) {
        let text = parts.concat();
        if let Err(difference) = agrees(&text) {
            proptest::prop_assert!(false, "{}", difference);
        }
    }
}
