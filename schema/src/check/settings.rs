//! `[global]` of rule files and the tables of `portunus.toml`. Pure.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use globset::Glob;

use super::edges::Fleet;
use super::{FLEET_FILE, RuleFile};
use crate::codes::TreeCode;
use crate::decode::{self, Decoded, Draft, Slot, shortened};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{global, portunus, rails, rollout, root, tree, wave};
use crate::findings::Findings;
use crate::name::Labels;
use crate::rollout::{Rollout, Wave};
use crate::ruleset::{Global, Rails};
use crate::text;

/// The settings of the process. Two files may set the same key only to the same value.
pub(super) fn global(files: &[RuleFile<'_>], diagnostics: &mut Findings) -> Global {
    let mut first: Vec<Option<(&SourceFile, Span, String)>> = vec![None; global::TABLE.fields.len()];
    for RuleFile { file, root, .. } in files {
        if let Some(slot) = root.get(root::STATS) {
            let message = "`[stats]` has no effect";
            let found = Diagnostic::error(TreeCode::NotApplicable, file, slot.key_span, message).as_warning();
            diagnostics.push(found.help("counters come from `portunus stats`, the API and /metrics"));
        }
        for slot in root.table(root::GLOBAL).map(Draft::slots).unwrap_or_default() {
            let Some(value) = as_text(slot) else { continue };
            match &first[slot.field] {
                Some((first_file, first_span, first_value)) if *first_value != value => {
                    let key = global::TABLE.fields[slot.field].key;
                    let message = format!("two files set `{key}` of [global] to different values");
                    diagnostics.push(
                        Diagnostic::error(TreeCode::ConflictingKeys, file, slot.span, message)
                            .related(first_file, *first_span, "set first here")
                            .help("one process runs the rules of all files: set the key once"),
                    );
                }
                Some(_) => {}
                None => first[slot.field] = Some((file, slot.span, value)),
            }
        }
    }
    let mut value = |field: usize| first[field].take().map(|(_, _, value)| value);
    Global {
        label: value(global::LABEL),
        log_level: value(global::LOG_LEVEL),
        log_format: value(global::LOG_FORMAT),
        shutdown_drain_secs: value(global::SHUTDOWN_DRAIN_SECS).and_then(|text| text.parse().ok()),
    }
}

fn as_text(slot: &Slot<'_>) -> Option<String> {
    slot.text().map(str::to_owned).or_else(|| slot.int().map(|number| number.to_string()))
}

/// `[rails]` of portunus.toml, with defaults for what it does not say.
pub(super) fn rails(draft: &Draft<'_>) -> Rails {
    let defaults = Rails::default();
    let Some(table) = draft.table(portunus::RAILS) else { return defaults };
    // The field table bounds every number to u32.
    let count = |field, default: u32| table.get(field).and_then(Slot::int).map_or(default, |number| number as u32);
    Rails {
        max_removed_percent: count(rails::MAX_REMOVED_PERCENT, defaults.max_removed_percent),
        max_removed_rules: count(rails::MAX_REMOVED_RULES, defaults.max_removed_rules),
        max_rebound_percent: count(rails::MAX_REBOUND_PERCENT, defaults.max_rebound_percent),
        max_connections_dropped: count(rails::MAX_CONNECTIONS_DROPPED, 0).into(),
    }
}

/// A `[rollout]` with where it stands.
pub(super) struct PlacedRollout<'t> {
    pub(super) rollout: Rollout,
    file: &'t SourceFile,
    span: Span,
}

/// `[rollout]` of portunus.toml. Waves that select no edge of the inventory are errors, for their labels are probably
/// mistyped.
pub(super) fn rollout<'t>(file: &'t SourceFile, draft: &Draft<'_>) -> Option<PlacedRollout<'t>> {
    let slot = draft.table(portunus::ROLLOUT)?.get(rollout::WAVES)?;
    let Decoded::Tables(drafts) = &slot.value else { return None };
    let waves = drafts.iter().map(read_wave).collect();
    Some(PlacedRollout { rollout: Rollout { waves }, file, span: slot.span })
}

fn read_wave(draft: &Draft<'_>) -> Wave {
    // The field table bounds every number.
    let number = |field, default: u32| draft.get(field).and_then(Slot::int).map_or(default, |number| number as u32);
    let edge_labels = match draft.get(wave::EDGE_LABELS).map(|slot| &slot.value) {
        Some(Decoded::Map(map)) => map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        _ => Labels::new(),
    };
    Wave {
        edge_labels,
        max_parallel: NonZeroU32::new(number(wave::MAX_PARALLEL, 1)).unwrap_or(NonZeroU32::MIN),
        max_failed: number(wave::MAX_FAILED, 0),
        soak: Duration::from_secs(number(wave::SOAK_SECS, 0).into()),
    }
}

/// Edges in no wave that a message names at most.
const SHOWN_EDGES: usize = 20;

/// Edges that a rollout would never reach, and waves that reach none. The edges are those that have rules.
pub(super) fn check_rollout(
    placed: &PlacedRollout<'_>,
    edges: &[u32],
    fleet: &mut Fleet<'_>,
    diagnostics: &mut Findings,
) {
    let PlacedRollout { rollout, file, span } = placed;
    if rollout.waves.is_empty() {
        return;
    }
    let mut reached = HashSet::new();
    let mut has_rest = false;
    let mut idle = Vec::new();
    for (number, wave) in rollout.waves.iter().enumerate() {
        let wanted: Vec<_> = wave.edge_labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if wanted.is_empty() {
            has_rest = true;
            continue;
        }
        let found = fleet.labelled(&wanted);
        if found.is_empty() {
            idle.push(number + 1);
        }
        reached.extend(found);
    }
    let is_missed = |edge: &&u32| !has_rest && !reached.contains(*edge);
    let mut missed: Vec<&str> = edges.iter().filter(is_missed).map(|edge| fleet.name(*edge).as_str()).collect();
    // Names beyond those that are shown are only counted.
    let count = missed.len();
    missed.truncate(SHOWN_EDGES);
    if let Some(first) = missed.first() {
        let message = match count {
            1 => format!("edge `{first}` has rules but is not in any wave"),
            count => format!("{count} edges have rules but are not in any wave: {}", shortened(&missed.join(", "))),
        };
        let help = "give the edge labels that a wave selects, or add a last wave with `edge_labels = {}` for the remaining \
             edges";
        diagnostics.push(Diagnostic::error(TreeCode::InvalidValue, file, *span, message).help(help));
    }
    for number in idle {
        let message = format!("no edge of the inventory has the labels of wave {number}");
        diagnostics.push(Diagnostic::error(TreeCode::NoEdgeMatches, file, *span, message));
    }
}

fn ignore_slot<'d, 'a>(draft: &'d Draft<'a>) -> Option<&'d Slot<'a>> {
    draft.table(portunus::TREE)?.get(tree::IGNORE)
}

/// Reports globs of `[tree] ignore` that are none.
pub(super) fn check_ignore(file: &SourceFile, draft: &Draft<'_>, diagnostics: &mut Findings) {
    let Some(Decoded::Texts(globs)) = ignore_slot(draft).map(|slot| &slot.value) else { return };
    for (span, glob) in globs {
        if let Err(error) = Glob::new(glob) {
            let message = format!("`{}` is not a valid glob: {}", shortened(glob), error.kind());
            diagnostics.push(Diagnostic::error(TreeCode::InvalidValue, file, *span, message));
        }
    }
}

/// The globs of `[tree] ignore` in a `portunus.toml`, for whoever reads the directory. What is wrong with the file
/// is left to [`super::check_tree`]: globs that are none are left out here.
pub fn tree_ignore(portunus_toml: &str) -> Vec<String> {
    let file = SourceFile::new(FLEET_FILE, portunus_toml);
    let mut ignored = Findings::new();
    let draft =
        text::parse(&file, &mut ignored).and_then(|node| decode::decode(&file, node, &portunus::TABLE, &mut ignored));
    match draft.as_ref().and_then(ignore_slot).map(|slot| &slot.value) {
        Some(Decoded::Texts(globs)) => {
            globs.iter().filter(|(_, glob)| Glob::new(glob).is_ok()).map(|(_, glob)| glob.to_string()).collect()
        }
        _ => Vec::new(),
    }
}
