//! An error and what caused it, in one line. Pure.

use std::error::Error;

/// An error and its causes, each said once.
pub fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        // Some errors say in their own words what caused them.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct CausedError(&'static str, #[source] Option<Box<CausedError>>);

    #[test]
    fn every_cause_is_said_once() {
        let cause = |text, source: Option<CausedError>| CausedError(text, source.map(Box::new));
        let deepest = cause("no such file", None);
        let middle = cause("a.toml: no such file", Some(deepest));
        let error = cause("the tree cannot be read", Some(middle));
        assert_eq!(with_causes(&error), "the tree cannot be read: a.toml: no such file");
    }
}
