//! Which entries of the history a selection means. Pure.

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};

use super::{Matcher, Selection, Sort, Unselected};
use crate::decide::fleet::Fleet;
use crate::decide::ledger::{HistoryEntry, LedgerAction, OUTCOMES};
use crate::decide::plan::RuleChange;
use crate::decide::status::rule_status;

/// The entries that are meant, of entries that come newest first; no more of them are taken than the selection needs.
/// `changes_of` reads what an apply was to change, as far as that is kept.
pub fn entries<E>(
    selection: &Selection,
    newest_first: impl IntoIterator<Item = Result<HistoryEntry, E>>,
    fleet: &Fleet,
    now: Timestamp,
    mut changes_of: impl FnMut(&str) -> Result<Option<Vec<RuleChange>>, E>,
) -> Result<Result<Vec<HistoryEntry>, Unselected>, E> {
    let read = || {
        selection.check(Sort::OF_HISTORY)?;
        let state = selection.state.as_deref();
        if let Some(wrong) = state.filter(|state| !OUTCOMES.contains(state)) {
            let known = OUTCOMES.join(", ");
            return Err(Unselected::Invalid(format!("state `{wrong}`: expected one of {known}")));
        }
        Ok((selection.matcher()?, selection.from(now)?))
    };
    let (matcher, from) = match read() {
        Ok(read) => read,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let mut found = Vec::new();
    for entry in newest_first {
        let entry = entry?;
        let line = &entry.entry;
        let is_meant = from.is_none_or(|from| line.at >= from)
            && selection.state.as_ref().is_none_or(|state| line.outcome == *state);
        if !is_meant {
            continue;
        }
        if selection.names_places() && !is_there(selection, &matcher, fleet, &entry, &mut changes_of)? {
            continue;
        }
        found.push(entry);
        // The newest entries are the ones that a limit leaves.
        if selection.limit.is_some_and(|limit| found.len() >= limit) {
            break;
        }
    }
    let limited = selection.limited(found).map(|mut found| {
        if selection.sort != Some(Sort::Newest) {
            found.reverse();
        }
        found
    });
    Ok(limited)
}

fn is_there<E>(
    selection: &Selection,
    matcher: &Matcher<'_>,
    fleet: &Fleet,
    found: &HistoryEntry,
    changes_of: &mut impl FnMut(&str) -> Result<Option<Vec<RuleChange>>, E>,
) -> Result<bool, E> {
    let entry = &found.entry;
    let is_edge = |edge: &EdgeName| matcher.is_edge(edge, &fleet.labels(edge));
    let noted = place_of(found);
    if !selection.names_rules() {
        let mut touched = entry.generations.keys().chain(entry.edges.keys()).chain(noted.iter().map(|(edge, _)| edge));
        return Ok(touched.any(is_edge));
    }
    if let Some((edge, Some(rule))) = &noted {
        let is_rule = matcher.is_named(rule) && is_now(selection, matcher, fleet, edge, rule);
        return Ok(is_edge(edge) && is_rule);
    }
    if !entry.is_start() {
        return Ok(false);
    }
    let changes = changes_of(&entry.apply_id)?.unwrap_or_default();
    let is_meant = |change: &RuleChange| {
        is_edge(&change.edge) && matcher.is_named(&change.rule) && is_changed(selection, fleet, change)
    };
    Ok(changes.iter().any(is_meant))
}

/// The rule that an entry without an apply is about: its note begins with it.
fn place_of(found: &HistoryEntry) -> Option<(EdgeName, Option<RuleName>)> {
    let entry = &found.entry;
    let first = entry.note.split(' ').next()?;
    match entry.action {
        LedgerAction::Override | LedgerAction::Connections => {
            let (edge, rule) = first.split_once('/')?;
            Some((EdgeName::new(edge).ok()?, RuleName::new(rule).ok()))
        }
        LedgerAction::Edge => Some((EdgeName::new(first.trim_end_matches(':')).ok()?, None)),
        _ => None,
    }
}

/// Owner and port as the rule has them now, where they are asked for.
fn is_now(selection: &Selection, matcher: &Matcher<'_>, fleet: &Fleet, edge: &EdgeName, rule: &RuleName) -> bool {
    if selection.owner.is_none() && selection.port.is_none() {
        return true;
    }
    let known = fleet.edges().get(edge).and_then(|view| rule_status(view, rule, Timestamp::UNIX_EPOCH));
    known.is_some_and(|status| matcher.is_place(&status))
}

/// Owner and port of a change: those that it named, else those that the rule has now.
fn is_changed(selection: &Selection, fleet: &Fleet, change: &RuleChange) -> bool {
    let owner = change.fields.iter().find(|field| field.path == "owner");
    let is_port = selection.port.is_none_or(|port| change.ports.all().any(|range| range.ports.contains(port)));
    let is_owner = |wanted: &String| {
        if let Some(field) = owner {
            return [&field.before, &field.after].into_iter().any(|value| value.as_str() == Some(wanted));
        }
        let of_owner = Selection { owner: Some(wanted.clone()), ..Selection::default() };
        of_owner.matcher().is_ok_and(|matcher| is_now(&of_owner, &matcher, fleet, &change.edge, &change.rule))
    };
    is_port && selection.owner.as_ref().is_none_or(is_owner)
}

#[cfg(test)]
mod tests {
    use schema::canonical::Digest;
    use serde_json::json;

    use super::*;
    use crate::decide::ledger::Entry;
    use crate::decide::plan::PlannedChange;

    fn history() -> Vec<HistoryEntry> {
        let line = |number: u64, outcome: &str, edge: &str| Entry {
            id: number,
            at: Timestamp::from_second(number.cast_signed() * 100).expect("a time"),
            apply_id: format!("a{number}"),
            digest: Digest::of(&number.to_be_bytes()),
            outcome: outcome.to_owned(),
            generations: [(EdgeName::new(edge).expect("a name"), 1)].into(),
            ..Entry::default()
        };
        let lines = [line(1, "applied", "fra-1"), line(2, "partial", "nyc-1"), line(3, "applied", "fra-2")];
        let mut all: Vec<_> =
            lines.into_iter().map(|line| HistoryEntry::of_line(line.clone(), line.id, true)).collect();
        let over = Entry {
            id: 4,
            at: Timestamp::from_second(400).expect("a time"),
            action: LedgerAction::Override,
            outcome: "rule_added".to_owned(),
            note: "fra-1/web on *:80".to_owned(),
            ..Entry::default()
        };
        all.push(HistoryEntry::of_line(over, 4, true));
        all
    }

    fn found(selection: serde_json::Value) -> Result<Vec<u64>, Unselected> {
        let selection: Selection = serde_json::from_value(selection).expect("a selection");
        let change = |apply: &str| {
            let edge = if apply == "a2" { "nyc-1" } else { "fra-1" };
            let change = json!({"edge": edge, "rule": "dns", "action": "activate", "ports":
                {"bind": ["*:53/udp"], "keep": [], "release": []}, "fields": [{"path": "owner", "before": null,
                "after": "net"}], "impact": {"kind": "none", "connections": 0}});
            let change: PlannedChange = serde_json::from_value(change).expect("a change");
            Ok::<_, ()>(Some(vec![change.try_into().expect("listeners")]))
        };
        let now = Timestamp::from_second(450).expect("a time");
        let all =
            entries(&selection, history().into_iter().rev().map(Ok), &Fleet::default(), now, change).expect("readable");
        all.map(|found| found.into_iter().map(|entry| entry.entry.id).collect())
    }

    #[test]
    fn no_more_entries_are_read_than_a_limit_leaves() {
        let (mut read, selection) = (0, Selection { limit: Some(2), ..Selection::default() });
        let newest_first = history().into_iter().rev().map(|entry| {
            read += 1;
            Ok::<_, ()>(entry)
        });
        let found = entries(&selection, newest_first, &Fleet::default(), Timestamp::UNIX_EPOCH, |_| Ok(None));
        assert_eq!(found.expect("readable").expect("some").len(), 2);
        assert_eq!(read, 2);
    }

    #[test]
    fn each_selector_leaves_the_entries_that_it_names() {
        for (selection, expected) in [
            (json!({}), &[1, 2, 3, 4][..]),
            (json!({"edge": "fra-*"}), &[1, 3, 4]),
            (json!({"rule": "web"}), &[4]),
            (json!({"rule": "d*", "edge": "nyc-1"}), &[2]),
            (json!({"port": 53}), &[1, 2, 3]),
            (json!({"owner": "net", "edge": "nyc-1"}), &[2]),
            (json!({"state": "partial"}), &[2]),
            (json!({"since": "160s"}), &[3, 4]),
            (json!({"limit": 2}), &[3, 4]),
            (json!({"limit": 2, "sort": "newest"}), &[4, 3]),
        ] {
            assert_eq!(found(selection.clone()).as_deref(), Ok(expected), "{selection}");
        }
        let nothing = found(json!({"edge": "ams-*"})).expect_err("nothing");
        assert_eq!(nothing.to_string(), "nothing matches --edge ams-*");
        for wrong in [json!({"state": "active"}), json!({"sort": "state"}), json!({"since": "then"})] {
            assert!(matches!(found(wrong.clone()), Err(Unselected::Invalid(_))), "{wrong}");
        }
    }
}
