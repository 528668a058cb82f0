//! Text of others as a terminal, a page or a message may show it. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes control characters visible, and also those that reorder text. Line ends and tabs become escapes.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            letter if is_harmful(letter) => {
                write!(shown, "\\u{{{:x}}}", u32::from(letter)).expect("a string grows as needed");
            }
            letter => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

/// Control characters of both kinds, line and paragraph separators, and the marks that change the direction of text.
pub fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_text_around_stays() {
        assert_eq!(clean("plain ö"), "plain ö");
        assert_eq!(clean("a\u{1b}[31mb\u{9b}c\u{7f}\n\u{202e}"), "a\\u{1b}[31mb\\u{9b}c\\u{7f}\\n\\u{202e}");
    }
}
