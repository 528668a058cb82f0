//! Rust source without what is not code. Pure.
//!
//! Keeps: lines stay where they are, so that a finding has its line.

/// Blanks comments and the contents of strings and characters.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let Some(end) = token_end(text, at) else {
            let c = text[at..].chars().next().expect("before the end");
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        out.extend(text[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The code without the test module at its end. One in a file of its own ends nothing, wherever it is named.
pub(crate) fn production(code: &str) -> &str {
    let of_tests = code.match_indices("#[cfg(test)]\nmod ");
    let mut ends = of_tests.filter(|(at, _)| {
        let line = code[*at..].lines().nth(1).unwrap_or_default();
        !line.ends_with(';')
    });
    ends.next().map_or(code, |(at, _)| &code[..at])
}

/// The end of the comment, string or character that starts here, if one does.
fn token_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with("//") {
        return Some(at + rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(at + rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if rest.starts_with('"') {
        return Some(quoted_end(text, at));
    }
    if rest.starts_with('\'') {
        return character_end(rest).map(|length| at + length);
    }
    let follows_word = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !follows_word && (rest.starts_with('r') || rest.starts_with("br")) {
        let start = rest.find('r').expect("just seen") + 1;
        let hashes = rest[start..].bytes().take_while(|byte| *byte == b'#').count();
        if rest[start + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = start + hashes + 1;
            return Some(at + rest[body..].find(&close).map_or(rest.len(), |end| body + end + close.len()));
        }
    }
    None
}

fn quoted_end(text: &str, at: usize) -> usize {
    let mut escaped = false;
    for (offset, byte) in text.bytes().enumerate().skip(at + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character_end(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        let escaped = chars.next()?.0;
        return rest[escaped + 1..].find('\'').map(|end| escaped + end + 2);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(end, _)| end + 1)
}

/// Every word of the code with its line, from 1.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(line, text)| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .map(move |word| (line + 1, word))
    })
}

/// The modules of `std` that the code names, in paths and in groups such as `use std::{fs, net}`, with their lines.
pub(crate) fn std_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("std::") {
        let line = code[..start].matches('\n').count() + 1;
        let rest = &code[start + 5..];
        let group = rest.strip_prefix('{').map(|rest| rest.split_once(';').map_or(rest, |(group, _)| group));
        let mut depth = 0;
        let mut word = String::new();
        for c in group.unwrap_or(rest).chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push((line, std::mem::take(&mut word))),
                c if depth == 0 && (c.is_alphanumeric() || c == '_' || c == ':') => word.push(c),
                _ if group.is_none() => break,
                _ => {}
            }
        }
        found.push((line, word));
    }
    found.into_iter().map(|(line, path)| (line, path.split("::").next().unwrap_or_default().to_owned())).collect()
}

#[test]
fn comments_and_strings_are_no_code() {
    let text =
        "let a = \"tokio \\\" fs\"; // tokio\nlet b: &'a str = r#\"std::fs\"#; /* tokio\n */ let c = '\"'; tokio";
    let code = code(text);
    let found: Vec<_> = words(&code).filter(|(_, word)| *word == "tokio").collect();
    assert_eq!(found, [(3, "tokio")]);
}

#[test]
fn tests_end_the_code_where_they_stand_in_it() {
    assert_eq!(
        production("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod more {\n}\n"),
        "a\n#[cfg(test)]\nmod tests;\nb\n"
    );
    assert_eq!(production("a\n"), "a\n");
}

#[test]
fn modules_are_found_in_paths_and_groups() {
    let found = std_modules("use std::{io, fs::File,\n net::{self, IpAddr}};\nstd::env::var()");
    let names: Vec<_> = found.iter().map(|(line, name)| (*line, name.as_str())).collect();
    assert_eq!(names, [(1, "io"), (1, "fs"), (1, "net"), (3, "env")]);
}
