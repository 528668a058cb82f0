//! One rail as a sentence. Pure.

use crate::decide::plan::RailVerdict;

use super::clean::clean;

/// What the rail says, the figures behind it, and the flag that allows it.
pub fn line(rail: &RailVerdict) -> String {
    clean(&rail.in_words()).into_owned()
}
