//! One rail as a sentence. Pure.

use reconciler::decide::plan::RailVerdict;

use crate::output::clean;

/// What the rail says, the figures behind it, and the flag that allows it.
pub(crate) fn line(rail: &RailVerdict) -> String {
    let unit = if rail.name.ends_with("_percent") { " %" } else { "" };
    let mut text = match rail.name.as_str() {
        // Their messages say it all; a limit of 0 would only puzzle.
        "last_rule" | "protected" | "empty_file" => format!("{}: {}", rail.name, clean(&rail.message)),
        name => format!(
            "{}: {}{unit} where {}{unit} are allowed, {}",
            clean(name),
            rail.actual,
            rail.limit,
            clean(&rail.message)
        ),
    };
    if let Some(allow) = &rail.allow {
        let verb = if rail.tripped { "allows it" } else { "was given" };
        text = format!("{text}; `{}` {verb}", clean(allow));
    }
    text
}
