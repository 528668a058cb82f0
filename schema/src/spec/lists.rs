//! The networks of a rule's access lists as data: references to files, and what differs between two versions. Pure.
//!
//! Keeps: a difference names the networks that are added and removed, the first ones of each, and counts the others; of
//! lists whose networks are not at hand it gives the digests.

use serde_json::{Map, Value};

use super::FieldChange;
use crate::access::Access;
use crate::networks::{ListFile, NetworkList, difference};
use crate::policy::Network;
use crate::rule::Rule;

/// The digest and the number of the networks of each list file, for a rule as data.
pub(super) fn references(rule: &Rule) -> Option<Value> {
    let access = rule.access.as_deref()?;
    let files = [("allow_file", &access.allow_file), ("deny_file", &access.deny_file)];
    let reference = |file: &ListFile| Value::from(format!("{}/{}", file.digest(), file.networks()));
    let files = files.into_iter().filter_map(|(key, file)| Some((key.to_owned(), reference(file.as_ref()?))));
    let map: Map<String, Value> = files.collect();
    (!map.is_empty()).then_some(Value::Object(map))
}

/// How many networks each list file of a new rule has.
pub(super) fn of_new(rule: &Rule) -> Vec<FieldChange> {
    let Some(access) = rule.access.as_deref() else { return Vec::new() };
    let files = [("allow_file", &access.allow_file), ("deny_file", &access.deny_file)];
    let change = |(key, file): (&str, &Option<ListFile>)| {
        let networks = file.as_ref()?.networks();
        Some(FieldChange { path: format!("access.{key}.networks"), before: Value::Null, after: networks.into() })
    };
    files.into_iter().filter_map(change).collect()
}

/// What differs between the lists of two versions.
pub(super) fn changes(before: &Rule, after: &Rule) -> Vec<FieldChange> {
    let nothing = Access::default();
    let access = |rule: &'_ Rule| rule.access.as_deref().cloned();
    let (before, after) = (access(before), access(after));
    let (before, after) = (before.as_ref().unwrap_or(&nothing), after.as_ref().unwrap_or(&nothing));
    let mut changes = Vec::new();
    for (key, before, after) in [("allow", &before.allow, &after.allow), ("deny", &before.deny, &after.deny)] {
        of_lists(&format!("access.{key}"), before, after, &mut changes);
    }
    let files = [
        ("allow_file", before.allow_file.as_ref(), after.allow_file.as_ref()),
        ("deny_file", before.deny_file.as_ref(), after.deny_file.as_ref()),
    ];
    for (key, before, after) in files {
        of_files(&format!("access.{key}"), before, after, &mut changes);
    }
    changes
}

fn of_files(path: &str, before: Option<&ListFile>, after: Option<&ListFile>, changes: &mut Vec<FieldChange>) {
    if before.map(ListFile::digest) == after.map(ListFile::digest) {
        return;
    }
    let count = |file: Option<&ListFile>| file.map_or(Value::Null, |file| file.networks().into());
    changes.push(FieldChange { path: format!("{path}.networks"), before: count(before), after: count(after) });
    let nothing = NetworkList::default();
    let list = |file: Option<&ListFile>| file.map_or(Some(nothing.clone()), |file| file.list().cloned());
    if let (Some(before), Some(after)) = (list(before), list(after)) {
        of_lists(path, &before, &after, changes);
    } else {
        let digest = |file: Option<&ListFile>| file.map_or(Value::Null, |file| file.digest().to_string().into());
        changes.push(FieldChange { path: format!("{path}.digest"), before: digest(before), after: digest(after) });
    }
}

fn of_lists(path: &str, before: &NetworkList, after: &NetworkList, changes: &mut Vec<FieldChange>) {
    let found = difference(before, after);
    if found.added_total > 0 {
        let after = named(&found.added, found.added_total);
        changes.push(FieldChange { path: format!("{path}.added"), before: Value::Null, after });
    }
    if found.removed_total > 0 {
        let before = named(&found.removed, found.removed_total);
        changes.push(FieldChange { path: format!("{path}.removed"), before, after: Value::Null });
    }
}

fn named(networks: &[Network], total: usize) -> Value {
    let more = total - networks.len();
    let more = (more > 0).then(|| format!("and {more} more"));
    networks.iter().map(ToString::to_string).chain(more).collect::<Vec<_>>().into()
}
