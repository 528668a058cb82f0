//! Keys that are part of the language and that this version does not act on yet. Pure.
//!
//! Keeps: nothing is accepted and ignored. Every version that makes a key work removes its line here.

use crate::codes::TreeCode;
use crate::decode::{Draft, Slot, Value};
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::fields::{Table, rule};

const ALWAYS: &[&str] = &[];

/// One reserved key of a table: the values that pass, as text (none where every value is refused), and why the
/// others are.
struct Reserved(&'static str, usize, &'static [&'static str], &'static str);

/// The list. The values that pass are the defaults, for those are the same as no value.
const RESERVED: &[Reserved] = &[
    Reserved("rule", rule::RATE_LIMIT, ALWAYS, "rate limits are not designed yet"),
    Reserved("rule", rule::SNI, ALWAYS, "routing by server name is not designed yet"),
];

fn entry(table: &Table, field: usize) -> Option<&'static Reserved> {
    // `[defaults]` shares the fields of `[[rule]]`.
    let name = if table.name == "defaults" { "rule" } else { table.name };
    RESERVED.iter().find(|reserved| reserved.1 == field && reserved.0 == name)
}

/// What the reference says about a reserved key.
pub(crate) fn note(table: &Table, key: &str) -> Option<&'static str> {
    entry(table, table.find(key, 0)?).map(|reserved| reserved.3)
}

/// The value of a slot as the list above writes it.
fn written<'s>(slot: &'s Slot<'_>) -> &'s str {
    slot.text().unwrap_or_default()
}

/// Refuses the reserved keys of a draft and of its targets.
pub(super) fn refuse(file: &SourceFile, draft: &Draft<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for slot in draft.slots() {
        let Some(Reserved(_, _, passing, why)) = entry(draft.table, slot.field) else { continue };
        // A value that was refused for its form has its error; only keys that no value saves are refused twice.
        let is_form_error = matches!(slot.value, Value::Refused) && !passing.is_empty();
        if !is_form_error && !passing.contains(&written(slot)) {
            let key = draft.table.fields[slot.field].key;
            let message = format!("`{key}` is reserved: {why}");
            diagnostics.push(
                Diagnostic::error(TreeCode::ReservedKey, file, slot.key_span, message)
                    .help("remove the key for now: a key that is accepted is always enforced"),
            );
        }
        if let Value::Tables(drafts) = &slot.value {
            for draft in drafts {
                refuse(file, draft, diagnostics);
            }
        }
    }
}
