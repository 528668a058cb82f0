//! URLs as people may see them: without the password. Pure.
//!
//! Keeps: what stands before the host is masked even where the text is not a valid URL.

use std::borrow::Cow;

/// Stands for a password.
const MASK: &str = "***";

/// A URL without its password and its query; any other text as it is. What could be a user's name stays, unless it stands
/// alone: many services take a token there.
pub fn url(text: &str) -> Cow<'_, str> {
    let Some(start) = text.find("://").map(|at| at + "://".len()) else { return text.into() };
    // A password may hold any character, an `@` too: the last one ends it.
    let Some(end) = text[start..].rfind('@').map(|at| start + at) else { return without_query(text) };
    let user = text[start..end].split_once(':').map_or("", |(user, _)| user);
    let colon = if user.is_empty() { "" } else { ":" };
    format!("{}{user}{colon}{MASK}{}", &text[..start], without_query(&text[end..])).into()
}

/// Queries and fragments carry tokens.
fn without_query(text: &str) -> Cow<'_, str> {
    match text.find(['?', '#']) {
        Some(at) if at + 1 < text.len() => format!("{}{MASK}", &text[..=at]).into(),
        _ => text.into(),
    }
}

/// A message in which every URL is without its password.
pub fn text(message: &str) -> Cow<'_, str> {
    if !message.contains("://") {
        return message.into();
    }
    let is_end = |letter: char| letter.is_whitespace() || matches!(letter, '\'' | '"' | '`');
    let words = message.split_inclusive(is_end).map(|word| {
        let place = word.find("://").map_or(0, |at| word[..at].rfind('=').map_or(0, |equals| equals + 1));
        [&word[..place], &*url(&word[place..])].concat()
    });
    words.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::{text, url};

    #[test]
    fn every_url_of_a_message_is_shown_without_its_password() {
        assert_eq!(
            text("invalid value 'https://me:secret@host/x' for '--git <URL>': see --git=https://token@host"),
            "invalid value 'https://me:***@host/x' for '--git <URL>': see --git=https://***@host"
        );
        assert_eq!(text("write to ada@example.org"), "write to ada@example.org");
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, masked) in [
            ("http://user:secret@127.0.0.1:7080", "http://user:***@127.0.0.1:7080"),
            ("http://user:se@cr/et@host/path", "http://user:***@host/path"),
            ("https://token@host", "https://***@host"),
            ("http://:secret@host", "http://***@host"),
            ("http://user:secret@", "http://user:***@"),
            ("x://user:a:b@c", "x://user:***@c"),
            ("https://host/r?token=secret", "https://host/r?***"),
            ("https://user:secret@host/r#secret", "https://user:***@host/r#***"),
        ] {
            assert_eq!(url(text), masked);
        }
    }

    #[test]
    fn what_holds_none_stays_as_it_is() {
        for text in ["http://127.0.0.1:7080", "http://[::1]", "", "user:secret@host", "http://"] {
            assert_eq!(url(text), text);
        }
    }
}
