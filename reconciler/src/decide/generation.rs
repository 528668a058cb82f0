//! The arithmetic of generations: they only go up, and never wrap. Pure.

/// The highest generation that is believed. Raised a million times a second, it is reached after 146,000 years: whoever
/// names a higher one did not count.
pub const MOST: u64 = 1 << 62;

/// The next generation. Above [`MOST`] there is as much room again, so that what was believed can still be surpassed.
pub fn above(generation: u64) -> u64 {
    generation.saturating_add(1)
}

/// Why a number is not a generation, if it is none.
pub fn check(generation: u64) -> Result<(), String> {
    if generation <= MOST {
        Ok(())
    } else {
        Err(format!("generation {generation} is higher than any server can reach"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wraps() {
        assert_eq!(above(7), 8);
        assert_eq!(above(u64::MAX), u64::MAX);
        assert!(check(MOST).is_ok() && check(MOST + 1).is_err() && check(u64::MAX).is_err());
    }
}
