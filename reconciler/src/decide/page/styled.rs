//! Text for terminals as pieces for the page: styles become names of CSS classes. Pure.
//!
//! Keeps: no byte of a control sequence reaches the page, known or not.

/// A piece of text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StyledPiece {
    /// CSS classes, with blanks between; empty for plain text.
    pub class: String,
    /// The text, with its line ends.
    pub text: String,
}

/// What holds at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct TextStyle {
    strong: bool,
    faint: bool,
    color: Option<&'static str>,
}

impl TextStyle {
    fn take(&mut self, code: u32) {
        match code {
            0 => *self = Self::default(),
            1 => self.strong = true,
            2 => self.faint = true,
            22 => (self.strong, self.faint) = (false, false),
            31 | 91 => self.color = Some("ink-bad"),
            32 | 92 => self.color = Some("ink-good"),
            33 | 93 => self.color = Some("ink-warn"),
            36 | 96 => self.color = Some("ink-help"),
            39 => self.color = None,
            _ => {}
        }
    }

    fn class(self) -> String {
        let strong = self.strong.then_some("ink-strong");
        let faint = self.faint.then_some("ink-faint");
        let all: Vec<&str> = strong.into_iter().chain(faint).chain(self.color).collect();
        all.join(" ")
    }
}

/// The pieces of a text.
pub fn styled(text: &str) -> Vec<StyledPiece> {
    let mut pieces: Vec<StyledPiece> = Vec::new();
    let mut style = TextStyle::default();
    let mut add = |text: &str, style: TextStyle| {
        let text: String =
            text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect();
        if text.is_empty() {
            return;
        }
        let class = style.class();
        match pieces.last_mut() {
            Some(last) if last.class == class => last.text.push_str(&text),
            _ => pieces.push(StyledPiece { class, text }),
        }
    };
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        add(&rest[..at], style);
        rest = &rest[at + 1..];
        let Some(sequence) = rest.strip_prefix('[') else { continue };
        let end = sequence.find(|letter: char| ('\u{40}'..='\u{7e}').contains(&letter));
        let Some(end) = end else {
            rest = "";
            continue;
        };
        if sequence[end..].starts_with('m') {
            // Without a number it stands for 0.
            for code in sequence[..end].split(';') {
                style.take(if code.is_empty() { 0 } else { code.parse().unwrap_or(u32::MAX) });
            }
        }
        rest = &sequence[end + 1..];
    }
    add(rest, style);
    pieces
}

/// A diff, line by line: added, removed, headings and the rest.
pub fn diff_pieces(diff: &str) -> Vec<StyledPiece> {
    let class = |line: &str| match line.as_bytes().first() {
        Some(b'+') => "diff-add",
        Some(b'-') => "diff-del",
        Some(b'@') => "diff-head",
        _ => "",
    };
    let pieces = diff.split_inclusive('\n');
    pieces.map(|line| StyledPiece { class: class(line).to_owned(), text: line.replace('\r', "") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(class: &str, text: &str) -> StyledPiece {
        StyledPiece { class: class.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn styles_become_classes_and_sequences_vanish() {
        let text = "\u{1b}[1mPlan\u{1b}[0m: \u{1b}[1m\u{1b}[31m!\u{1b}[0m x\n\u{1b}[32m+ a\u{1b}[39m\u{1b}[2Kb";
        let expected = [
            piece("ink-strong", "Plan"),
            piece("", ": "),
            piece("ink-strong ink-bad", "!"),
            piece("", " x\n"),
            piece("ink-good", "+ a"),
            piece("", "b"),
        ];
        assert_eq!(styled(text), expected);
        for odd in ["\u{1b}", "\u{1b}[", "\u{1b}[31", "a\u{1b}]0;title\u{7}", "\u{9b}31mx"] {
            assert!(styled(odd).iter().all(|piece| !piece.text.contains(['\u{1b}', '\u{7}', '\u{9b}'])), "{odd:?}");
        }
    }

    #[test]
    fn a_diff_is_coloured_by_its_signs() {
        let pieces = diff_pieces("@@ -1 +1 @@\n-a\r\n+b\n c\n");
        let classes: Vec<&str> = pieces.iter().map(|piece| piece.class.as_str()).collect();
        assert_eq!(classes, ["diff-head", "diff-del", "diff-add", ""]);
        assert_eq!(pieces[1].text, "-a\n");
    }
}
