//! What the system said, for people. Pure.
//!
//! Keeps: no type names, error numbers or nested structures of libraries reach a log line or a message.

use std::error::Error;
use std::io;

/// The reason that the system gave, without its number.
pub(crate) fn system(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.find(" (os error ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        (Some(_), None) => text,
        // Made by a library: the kind is the only word that is meant for people.
        (None, _) => error.kind().to_string(),
    }
}

/// Why something over the network ended: what the system said, else the innermost cause that is a sentence.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> Option<String> {
    let (mut of_system, mut sentence) = (None, None);
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            of_system = Some(system(error));
        }
        let text = cause.to_string();
        if !text.is_empty() && !text.contains(['{', '(']) {
            sentence = Some(text);
        }
        next = cause.source();
    }
    of_system.or(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] Inner);

    #[derive(Debug, thiserror::Error)]
    enum Inner {
        #[error("Custom {{ kind: BrokenPipe }}")]
        Io(#[source] io::Error),
        #[error("keep-alive timed out")]
        Silent,
        #[error("Error {{ code: 2 }}")]
        Raw,
    }

    #[test]
    fn what_the_system_said_has_no_number() {
        assert_eq!(system(&io::Error::from_raw_os_error(28)), "No space left on device");
        assert_eq!(system(&io::Error::new(io::ErrorKind::BrokenPipe, "x { y }")), "broken pipe");
    }

    #[test]
    fn a_cause_is_the_systems_word_else_the_innermost_sentence() {
        let refused = Inner::Io(io::Error::from_raw_os_error(111));
        assert_eq!(cause(&Outer("transport error", refused)).as_deref(), Some("Connection refused"));
        assert_eq!(cause(&Outer("transport error", Inner::Silent)).as_deref(), Some("keep-alive timed out"));
        assert_eq!(cause(&Outer("transport error", Inner::Raw)), None);
    }
}
