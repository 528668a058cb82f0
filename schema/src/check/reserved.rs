//! Keys that are part of the language and that this version does not act on yet. Pure.
//!
//! Keeps: nothing is accepted and ignored. Every version that makes a key work removes its line here.

use crate::codes::TreeCode;
use crate::decode::Draft;
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::fields::{Table, rule};
use crate::findings::Findings;

/// One reserved key of a table, and why it is.
struct Reserved(&'static str, usize, &'static str);

/// The list.
const RESERVED: &[Reserved] = &[
    Reserved("rule", rule::RATE_LIMIT, "rate limits are not supported yet"),
    Reserved("rule", rule::SNI, "routing by server name is not supported yet"),
];

fn entry(table: &Table, field: usize) -> Option<&'static Reserved> {
    // `[defaults]` shares the fields of `[[rule]]`.
    let name = if table.name == "defaults" { "rule" } else { table.name };
    RESERVED.iter().find(|reserved| reserved.1 == field && reserved.0 == name)
}

/// What the reference says about a reserved key.
pub(crate) fn note(table: &Table, key: &str) -> Option<&'static str> {
    entry(table, table.find(key, 0)?).map(|reserved| reserved.2)
}

/// Refuses the reserved keys of a draft, whatever their values are.
pub(super) fn refuse(file: &SourceFile, draft: &Draft<'_>, diagnostics: &mut Findings) {
    for slot in draft.slots() {
        let Some(Reserved(_, _, why)) = entry(draft.table, slot.field) else { continue };
        let key = draft.table.fields[slot.field].key;
        let message = format!("`{key}` is reserved: {why}");
        diagnostics.push(
            Diagnostic::error(TreeCode::ReservedKey, file, slot.key_span, message)
                .help("remove the key for now: a key that is accepted is always enforced"),
        );
    }
}
