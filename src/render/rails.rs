//! One rail as a sentence. Pure.

use reconciler::decide::plan::RailVerdict;

use crate::output::clean;

/// What the rail says, the figures behind it, and the flag that allows it.
pub(crate) fn line(rail: &RailVerdict) -> String {
    clean(&rail.in_words()).into_owned()
}
