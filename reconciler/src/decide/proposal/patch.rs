//! A changed file as a patch: the format of `git diff`, which `git apply` takes. Pure.
//!
//! Keeps: lines are cut at line feeds alone, so that carriage returns are part of them as git has it, and a missing end
//! of the last line is marked.

use std::fmt::Write as _;
use std::ops::Range;

use similar::{DiffTag, TextDiff};

/// Lines around a change, as git shows them.
const CONTEXT: usize = 3;

/// The whole patch of one file, which has this path from the root of the repository.
pub fn patch(path: &str, before: &str, after: &str) -> String {
    patch_at(path, before, after, 1)
}

/// The same for a piece of the file, which begins with this line.
pub fn patch_at(path: &str, before: &str, after: &str, first_line: u32) -> String {
    let hunks = hunks(before, after, first_line);
    if hunks.is_empty() {
        return hunks;
    }
    let (old, new) = (name("a", path), name("b", path));
    // A tab ends a name with blanks, which would else be cut at the first of them.
    let tab = if path.contains(' ') && !old.starts_with('"') { "\t" } else { "" };
    format!("diff --git {old} {new}\n--- {old}{tab}\n+++ {new}{tab}\n{hunks}")
}

/// The changed pieces alone; the first line of both texts has this number.
pub fn hunks(before: &str, after: &str, first_line: u32) -> String {
    let (old, new) = (lines(before), lines(after));
    let diff = TextDiff::from_slices(&old, &new);
    let mut text = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let (old_place, new_place) = (place(&old_range, first_line), place(&new_range, first_line));
        writeln!(text, "@@ -{old_place} +{new_place} @@").expect("a string grows as needed");
        for op in &group {
            if op.tag() == DiffTag::Equal {
                write_lines(&mut text, ' ', &old[op.old_range()]);
            } else {
                write_lines(&mut text, '-', &old[op.old_range()]);
                write_lines(&mut text, '+', &new[op.new_range()]);
            }
        }
    }
    text
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn write_lines(to: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        to.push(sign);
        to.push_str(line);
        if !line.ends_with('\n') {
            to.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// `12,3`; an empty range is named by the line before it.
fn place(range: &Range<usize>, first_line: u32) -> String {
    let start = range.start + first_line as usize;
    match range.len() {
        0 => format!("{},0", start - 1),
        1 => start.to_string(),
        count => format!("{start},{count}"),
    }
}

/// A name as git writes it: in quotes if it has letters that would end it.
fn name(side: &str, path: &str) -> String {
    let is_plain = |letter: char| !letter.is_control() && letter != '"' && letter != '\\';
    if path.chars().all(is_plain) {
        return format!("{side}/{path}");
    }
    let mut quoted = format!("\"{side}/");
    for letter in path.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            letter if letter.is_ascii_control() => {
                write!(quoted, "\\{:03o}", letter as u32).expect("a string grows as needed");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_the_file_and_the_lines_as_git_does() {
        let before = "a\nb\nc\nd\ne\nf\n";
        let after = "a\nb\nc\nd\nX\ne\nf\n";
        let expected = "diff --git a/rules/web.toml b/rules/web.toml\n--- a/rules/web.toml\n+++ b/rules/web.toml\n\
                        @@ -2,5 +2,6 @@\n b\n c\n d\n+X\n e\n f\n";
        assert_eq!(patch("rules/web.toml", before, after), expected);
        assert_eq!(patch("x", before, before), "");
    }

    #[test]
    fn line_ends_and_a_missing_one_are_kept() {
        let text = patch("a.toml", "a\r\nb", "a\r\nc");
        assert!(
            text.ends_with(
                "@@ -1,2 +1,2 @@\n a\r\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n"
            ),
            "{text:?}"
        );
        let text = hunks("a\rb\n", "a\rc\n", 7);
        assert_eq!(text, "@@ -7 +7 @@\n-a\rb\n+a\rc\n");
    }

    #[test]
    fn names_with_blanks_end_with_a_tab_and_others_are_quoted() {
        let text = patch("my rules/a b.toml", "a\n", "b\n");
        assert!(text.contains("--- a/my rules/a b.toml\t\n+++ b/my rules/a b.toml\t\n"), "{text:?}");
        let text = patch("a\"b\\c.toml", "a\n", "b\n");
        assert!(text.contains(r#"--- "a/a\"b\\c.toml""#), "{text:?}");
    }

    #[test]
    fn a_file_that_becomes_empty_has_an_empty_side() {
        assert_eq!(hunks("a\n", "", 1), "@@ -1 +0,0 @@\n-a\n");
    }
}
