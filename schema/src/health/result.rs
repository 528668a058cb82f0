//! What a probe or a connection found out: a result code with a detail for people. Pure.
//! Keeps: a detail is short and on one line, whatever the target sent.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest detail, in characters: a sentence and a piece of an answer; five of them are kept per target.
pub const MAX_DETAIL: usize = 160;

/// How far up a result was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Layer {
    /// Reaching the address and port.
    L4,
    /// The TLS handshake.
    L6,
    /// What was sent and answered.
    L7,
}

impl Layer {
    /// As in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L4 => "L4",
            Self::L6 => "L6",
            Self::L7 => "L7",
        }
    }
}

/// The result codes of CONTRACT §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResultCode {
    /// Connected.
    L4Ok,
    /// No answer to the connect in time.
    L4Tout,
    /// Refused, unreachable, or the name does not resolve.
    L4Con,
    /// The handshake succeeded.
    L6Ok,
    /// The handshake did not end in time.
    L6Tout,
    /// The handshake failed, or the certificate does not hold.
    L6Rsp,
    /// The answer is as expected, or the echo came back.
    L7Ok,
    /// No complete answer in time, or no echo.
    L7Tout,
    /// The answer is not what was expected, or none at all.
    L7Rsp,
    /// The status is none of the expected ones.
    L7Sts,
}

impl ResultCode {
    /// Every code, by layer.
    pub const ALL: &'static [Self] = &[
        Self::L4Ok,
        Self::L4Tout,
        Self::L4Con,
        Self::L6Ok,
        Self::L6Tout,
        Self::L6Rsp,
        Self::L7Ok,
        Self::L7Tout,
        Self::L7Rsp,
        Self::L7Sts,
    ];

    /// As in JSON, metrics and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L4Ok => "L4OK",
            Self::L4Tout => "L4TOUT",
            Self::L4Con => "L4CON",
            Self::L6Ok => "L6OK",
            Self::L6Tout => "L6TOUT",
            Self::L6Rsp => "L6RSP",
            Self::L7Ok => "L7OK",
            Self::L7Tout => "L7TOUT",
            Self::L7Rsp => "L7RSP",
            Self::L7Sts => "L7STS",
        }
    }

    /// The code that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// Where it was decided.
    pub const fn layer(self) -> Layer {
        match self {
            Self::L4Ok | Self::L4Tout | Self::L4Con => Layer::L4,
            Self::L6Ok | Self::L6Tout | Self::L6Rsp => Layer::L6,
            Self::L7Ok | Self::L7Tout | Self::L7Rsp | Self::L7Sts => Layer::L7,
        }
    }

    /// True for the codes of a success.
    pub const fn is_pass(self) -> bool {
        matches!(self, Self::L4Ok | Self::L6Ok | Self::L7Ok)
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One result: of a probe, or of the dialling of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outcome {
    code: ResultCode,
    detail: Arc<str>,
}

impl Outcome {
    /// A result; the detail is cut to [`MAX_DETAIL`] characters, and control characters become spaces.
    pub fn new(code: ResultCode, detail: &str) -> Self {
        let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
        Self { code, detail: detail.chars().take(MAX_DETAIL).map(clean).collect::<String>().into() }
    }

    /// What it was.
    pub const fn code(&self) -> ResultCode {
        self.code
    }

    /// What a person can act on; may be empty.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// True for a success.
    pub const fn is_pass(&self) -> bool {
        self.code.is_pass()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_as_it_is_written_and_begins_with_its_layer() {
        for code in ResultCode::ALL {
            assert_eq!(ResultCode::parse(code.as_str()), Some(*code));
            assert!(code.as_str().starts_with(code.layer().as_str()), "{code}");
            assert_eq!(code.is_pass(), code.as_str().ends_with("OK"), "{code}");
            assert_eq!(serde_json::to_value(code).expect("a word"), code.as_str());
        }
        assert_eq!(ResultCode::parse("l4ok"), None);
    }

    #[test]
    fn a_detail_is_one_short_line_whatever_the_target_sent() {
        let outcome = Outcome::new(ResultCode::L7Rsp, &"é\r\n\u{1b}".repeat(1_000_000));
        assert_eq!(outcome.detail().chars().count(), MAX_DETAIL);
        assert!(!outcome.detail().chars().any(char::is_control));
    }
}
