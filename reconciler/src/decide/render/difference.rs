//! One value before and after: on one line, or line by line where that reads better. Pure.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::clean::clean;

/// Longer values are shown below each other.
const LONGEST_ON_ONE_LINE: usize = 60;

/// A change as people read it.
pub enum Difference {
    /// `before → after`
    Line(String, String),
    /// Lines with their sign: ` `, `-` or `+`.
    Lines(Vec<(char, String)>),
}

/// Compares two values.
pub fn difference(before: &Value, after: &Value) -> Difference {
    let is_long = |value: &Value| match value {
        Value::String(text) => text.len() > LONGEST_ON_ONE_LINE || text.contains('\n'),
        _ => false,
    };
    if !is_long(before) && !is_long(after) {
        return Difference::Line(shown(before), shown(after));
    }
    let (before, after) = (lines(before), lines(after));
    let diff = TextDiff::from_lines(&before, &after);
    let signed = diff.iter_all_changes().map(|change| {
        let sign = match change.tag() {
            ChangeTag::Equal => ' ',
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        (sign, clean(change.value().trim_end_matches('\n')).into_owned())
    });
    Difference::Lines(signed.collect())
}

/// A value on one line; an absent one is `none`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        value => clean(&value.to_string()).into_owned(),
    }
}

fn lines(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => format!("{}\n", text.trim_end_matches('\n')),
        value => format!("{value}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_stand_on_one_line_and_long_ones_line_by_line() {
        let text = |text: &str| Value::String(text.to_owned());
        match difference(&Value::Null, &Value::from(3)) {
            Difference::Line(before, after) => assert_eq!((before.as_str(), after.as_str()), ("none", "3")),
            Difference::Lines(_) => panic!("two short values"),
        }
        match difference(&text("a\nb\n"), &text("a\nc\u{1b}")) {
            Difference::Lines(lines) => {
                assert_eq!(lines, [(' ', "a".to_owned()), ('-', "b".to_owned()), ('+', "c\\u{1b}".to_owned())]);
            }
            Difference::Line(..) => panic!("several lines"),
        }
    }
}
