//! The tags of YAML: those of the core schema count, every other one is refused. Pure.
//!
//! Keeps: no tag is read as if it were not there. `!env HOME` means the text `HOME` to nobody who writes it.

use std::borrow::Cow;

use saphyr_parser::Tag;

use super::{NOT_A_RULE_FILE, Value, syntax_error, yaml};
use crate::diagnostic::{Diagnostic, SourceFile, Span};

/// Why a tag cannot be followed.
pub(super) struct TagRefusal {
    message: String,
    help: String,
}

impl TagRefusal {
    /// The refusal as a finding.
    pub(super) fn at(self, file: &SourceFile, span: Span) -> Box<Diagnostic> {
        Box::new(syntax_error(file, span, self.message).help(self.help))
    }
}

/// The scalar that a tag asks for.
pub(super) fn scalar<'a>(text: Cow<'a, str>, tag: &Tag) -> Result<Value<'a>, TagRefusal> {
    let name = match core(tag) {
        Some(name @ ("str" | "int" | "float" | "bool" | "null")) => name,
        // The non-specific tag: whatever it looks like, it is text.
        None if is_plain(tag) => "str",
        _ => return Err(unknown(tag)),
    };
    if name == "str" {
        return Ok(Value::String(text));
    }
    let shown = text.to_string();
    match (name, yaml::plain(text)) {
        ("float", Value::Integer(number)) => Ok(Value::Float(number as f64)),
        ("int", value @ Value::Integer(_))
        | ("float", value @ Value::Float(_))
        | ("bool", value @ Value::Bool(_))
        | ("null", value @ Value::Null) => Ok(value),
        _ => Err(TagRefusal {
            message: format!("`{shown}` is not a value of the tag `!!{name}`"),
            help: "remove the tag, or write a value of its type".to_owned(),
        }),
    }
}

/// Refuses every tag of a list or a table but its own.
pub(super) fn collection(tag: Option<&Tag>, own: &str) -> Result<(), TagRefusal> {
    match tag {
        Some(tag) if core(tag) != Some(own) && !is_plain(tag) => Err(unknown(tag)),
        _ => Ok(()),
    }
}

fn core(tag: &Tag) -> Option<&str> {
    // Written in full (`!<tag:yaml.org,2002:str>`), all of it is the suffix.
    let whole = tag.suffix.strip_prefix("tag:yaml.org,2002:").filter(|_| tag.handle.is_empty());
    if tag.is_yaml_core_schema() { Some(&tag.suffix) } else { whole }
}

fn is_plain(tag: &Tag) -> bool {
    matches!((tag.handle.as_str(), tag.suffix.as_str()), ("", "!") | ("!", ""))
}

fn unknown(tag: &Tag) -> TagRefusal {
    let name = match core(tag) {
        Some(name) => format!("!!{name}"),
        None if tag.handle == "!" => format!("!{}", tag.suffix),
        None => format!("!<{}{}>", tag.handle, tag.suffix),
    };
    TagRefusal {
        message: format!("the tag `{name}` is not supported here"),
        help: format!(
            "write the value itself: a rule file cannot refer to variables or other files, and only the tags !!str, \
             !!int, !!float, !!bool, !!null, !!seq and !!map are supported; {NOT_A_RULE_FILE}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Findings;
    use crate::text::parse;

    fn value(text: &str) -> Result<String, Box<Diagnostic>> {
        let file = SourceFile::new("a.yaml", text);
        let mut found = Findings::new();
        let node = parse(&file, &mut found);
        match (node.map(|node| node.value), found.into_found().pop()) {
            (_, Some(found)) => Err(Box::new(found)),
            (Some(Value::Table(entries)), None) => Ok(format!("{:?}", entries[0].node.value)),
            (other, None) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_tags_of_the_core_schema_count() {
        for (text, expected) in [
            ("a: !!str 80", "String(\"80\")"),
            ("a: ! 80", "String(\"80\")"),
            ("a: !!int \"80\"", "Integer(80)"),
            ("a: !!float 1", "Float(1.0)"),
            ("a: !!bool true", "Bool(true)"),
            ("a: !!null ~", "Null"),
            ("a: !!seq [1]", "Array("),
            ("a: !!map {b: 1}", "Table("),
            ("a: !<tag:yaml.org,2002:str> 80", "String(\"80\")"),
        ] {
            let value = value(text).unwrap_or_else(|found| panic!("{text}: {found:?}"));
            assert!(value.starts_with(expected), "{text}: {value}");
        }
    }

    #[test]
    fn every_other_tag_is_an_error_with_its_place() {
        for (text, name) in [
            ("a: 1\nb: !env HOST:80\n", "`!env`"),
            ("a: 1\nb: !vault |\n  x\n", "`!vault`"),
            ("a: 1\nb: !Ref {c: 1}\n", "`!Ref`"),
            ("a: 1\nb: !list [1]\n", "`!list`"),
            ("a: 1\nb: !!binary eA==\n", "`!!binary`"),
            ("a: 1\nb: !!map [1]\n", "`!!map`"),
            ("a: 1\nb: !!int x\n", "`!!int`"),
            ("%TAG !e! tag:example.com,2000:\n---\nb: !e!foo x\n", "`!<tag:example.com,2000:foo>`"),
        ] {
            let found = value(text).expect_err(text);
            assert!(found.message.contains(name), "{text}: {}", found.message);
            let line = if text.starts_with('%') { 3 } else { 2 };
            assert_eq!(found.position().map(|at| at.line), Some(line), "{text}");
        }
    }
}
