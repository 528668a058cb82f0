//! Small pieces of sentences: counts, lists, times. Pure.

use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

use super::clean::clean;

/// `1 rule`, `2 rules`.
pub fn count(number: impl Into<u64>, one: &str) -> String {
    count_with(number.into(), one, plain)
}

/// A number with its noun, where `figure` writes the number.
pub fn count_with(number: u64, one: &str, figure: impl Fn(u64) -> String) -> String {
    let noun_end = if number == 1 { "" } else { "s" };
    format!("{} {one}{noun_end}", figure(number))
}

/// A number as a terminal shows it.
pub fn plain(number: u64) -> String {
    number.to_string()
}

/// At most `limit` items, and how many more there are.
pub fn listed<T: Display>(items: &[T], limit: usize) -> String {
    let shown: Vec<String> = items.iter().take(limit).map(ToString::to_string).collect();
    let rest = items.len().saturating_sub(limit);
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

/// Each item with a line end.
pub fn lines<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(item.as_ref());
        text.push('\n');
    }
    text
}

/// Codes and messages, as far as there are any, with colons between.
pub fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).map(|part| clean(part)).collect::<Vec<_>>().join(": ")
}

/// A point in time, to the second.
pub fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// How long ago something was, in one unit.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let secs = now.duration_since(at).as_secs().max(0).unsigned_abs();
    if secs < 2 { "now".to_owned() } else { format!("{} ago", rough(Duration::from_secs(secs))) }
}

/// How long something has lasted, in one unit.
pub fn lasting(secs: u64) -> String {
    rough(Duration::from_secs(secs))
}

fn rough(span: Duration) -> String {
    match span.as_secs() {
        secs @ ..120 => format!("{secs}s"),
        secs @ ..7200 => format!("{}m", secs / 60),
        secs @ ..172_800 => format!("{}h", secs / 3600),
        secs => format!("{}d", secs / 86_400),
    }
}

/// Bytes with a binary unit.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// The first letters of a hash, as git shows it.
pub fn short_hash(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!(
            [count(0_u32, "rule"), count(1_u32, "rule"), count(2_u32, "rule")],
            ["0 rules", "1 rule", "2 rules"]
        );
        assert_eq!(listed(&[1, 2, 3], 2), "1, 2 and 1 more");
    }

    #[test]
    fn bytes_and_ages_have_one_unit() {
        assert_eq!([bytes(1023), bytes(1024), bytes(1 << 20)], ["1023 B", "1.0 KiB", "1.0 MiB"]);
        let at = |secs| Timestamp::from_second(secs).expect("in range");
        assert_eq!([ago(at(0), at(1)), ago(at(0), at(119)), ago(at(0), at(7200))], ["now", "119s ago", "2h ago"]);
    }
}
