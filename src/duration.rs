//! Durations of the command line: `8`, `8s`, `10m`, `1h`, `1d`; bare numbers are seconds. Pure.

use std::time::Duration;

/// Longer ones are taken for a slip: `apply --timeout` and every other flag mean minutes.
const LONGEST_SECS: u64 = 365 * 24 * 3600;

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidDuration {
    /// Not a number with one of the units.
    #[error("expected a whole number with an optional unit s, m, h or d, for example 90, 90s, 10m or 1d")]
    Form,
    /// More than a year.
    #[error("longer than a year")]
    TooLong,
}

/// Parses a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 24 * 3600),
        _ => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration::Form);
    }
    let secs = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    secs.filter(|secs| *secs <= LONGEST_SECS).map(Duration::from_secs).ok_or(InvalidDuration::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds_and_units_are_taken() {
        for (text, secs) in [("8", 8), ("8s", 8), ("10m", 600), ("1h", 3600), ("1d", 86400), ("0", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(secs)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "d", "1w", "1.5s", "-1", "+1", " 1", "1 s", "1ms", "ä", "8S"] {
            assert_eq!(parse(text), Err(InvalidDuration::Form), "{text}");
        }
        for text in ["99999999999999999999", "9000h", "18446744073709551615m"] {
            assert_eq!(parse(text), Err(InvalidDuration::TooLong), "{text}");
        }
    }
}
