//! What probably makes a line unreadable: a quote that is missing. Pure.
//!
//! Keeps: only the line of the error is looked at, and only as much of it as people write.

use super::Syntax;
use crate::diagnostic::SourceFile;

/// Longer lines were not written by hand.
const LONGEST: usize = 512;
/// A value that is longer is not repeated.
const QUOTED: usize = 80;

/// The hint for a syntax error at this byte of a file, in the words of its parser.
pub(super) fn of_line(file: &SourceFile, at: usize, error: &str) -> Option<String> {
    let text = &*file.text;
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let line = text[start..end].trim();
    if line.len() > LONGEST {
        return None;
    }
    match Syntax::of_path(&file.path) {
        Some(Syntax::Toml) | None => of_toml(line, error),
        Some(Syntax::Yaml | Syntax::Json) => {
            is_odd(line, '"').then(|| "a quote seems to be missing in this line".to_owned())
        }
    }
}

fn of_toml(line: &str, error: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if !is_key || value.is_empty() || value.starts_with("\"\"\"") || value.starts_with("'''") {
        return None;
    }
    let is_one = value.len() <= QUOTED && !value.starts_with(['[', '{', '#']);
    for (quote, other) in [('"', '\''), ('\'', '"')] {
        // An apostrophe inside of a text is not a quote.
        if !is_odd(value, quote) || value.starts_with(other) {
            continue;
        }
        let inside = value.trim_matches(quote);
        let is_plain = is_one && !inside.contains(['"', '\'', '\\']);
        return Some(if is_plain {
            format!("a quote is missing: `{key} = \"{inside}\"`")
        } else {
            "a quote seems to be missing in this line".to_owned()
        });
    }
    let bare = value.split(" #").next().unwrap_or(value).trim_end();
    let is_about_value = error.contains("must be quoted") || error.starts_with("invalid ");
    let is_bare = is_one && is_about_value && !bare.contains(['"', '\'', '\\']);
    is_bare.then(|| match (key, range(bare)) {
        ("listen_port" | "port", Some(range)) => format!("a range of ports is written as `{key}s = \"{range}\"`"),
        _ => format!("text is written in quotes: `{key} = \"{bare}\"`"),
    })
}

/// `8080 - 8090` as a range of ports is written.
fn range(text: &str) -> Option<String> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
    Some(format!("{first}-{last}"))
}

/// True if there is an odd number of a quote, not counting escaped ones.
fn is_odd(text: &str, quote: char) -> bool {
    let mut is_escaped = false;
    let mut count = 0_usize;
    for letter in text.chars() {
        if letter == quote && !is_escaped {
            count += 1;
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    count % 2 == 1
}
