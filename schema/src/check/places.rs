//! Where the keys of one rule stand in its file. Pure.

use std::collections::BTreeMap;

use crate::decode::{self, Decoded, Draft, Slot};
use crate::diagnostic::{LineIndex, SourceFile};
use crate::fields::{owner, root};
use crate::findings::Findings;
use crate::ruleset::Origin;
use crate::text;

/// The lines of the keys of the rule that stands at `origin`, by their paths, such as `access.deny`; the entry of a list has
/// its own, as `access.deny[10.0.0.0/8]`. Keys that `[defaults]` sets for the rule are among them. Empty where the file does
/// not hold the rule.
pub fn key_lines(file: &SourceFile, origin: &Origin) -> BTreeMap<String, u32> {
    let mut found = Findings::new();
    let decoded = text::parse(file, &mut found).and_then(|node| decode::decode(file, node, &root::TABLE, &mut found));
    let lines = LineIndex::new(file);
    let mut places = BTreeMap::new();
    let Some(decoded) = decoded else { return places };
    let is_it = |draft: &&Draft<'_>| lines.position(draft.span.start).line == origin.line;
    let Some(own) = decoded.tables(root::RULE).iter().find(is_it) else { return places };
    if let Some(defaults) = decoded.table(root::DEFAULTS) {
        walk(defaults, "", &lines, &mut places);
    }
    for slot in own.slots() {
        // A table of the rule replaces that of `[defaults]` as a whole.
        let key = own.table.fields[slot.field].key;
        places.retain(|path, _| {
            path != key && !path.starts_with(&format!("{key}.")) && !path.starts_with(&format!("{key}["))
        });
    }
    walk(own, "", &lines, &mut places);
    places
}

/// The lines of the keys of an owner's limits, by their paths, such as `quota.bytes`, and of the entry itself by the empty
/// one. `None` where the file has no entry of that name.
pub fn owner_lines(file: &SourceFile, owner: &str) -> Option<BTreeMap<String, u32>> {
    let mut found = Findings::new();
    let decoded =
        text::parse(file, &mut found).and_then(|node| decode::decode(file, node, &root::TABLE, &mut found))?;
    let is_it = |draft: &&Draft<'_>| draft.get(owner::NAME).and_then(Slot::text) == Some(owner);
    let own = decoded.tables(root::OWNER).iter().find(is_it)?;
    let lines = LineIndex::new(file);
    let mut places = BTreeMap::from([(String::new(), lines.position(own.span.start).line)]);
    walk(own, "", &lines, &mut places);
    Some(places)
}

fn walk(draft: &Draft<'_>, prefix: &str, lines: &LineIndex<'_>, places: &mut BTreeMap<String, u32>) {
    for slot in draft.slots() {
        let path = format!("{prefix}{}", draft.table.fields[slot.field].key);
        let mut entry = |name: String, at: usize| _ = places.insert(name, lines.position(at).line);
        match &slot.value {
            Decoded::Networks(networks) => {
                for (span, network) in networks {
                    entry(format!("{path}[{network}]"), span.start);
                }
            }
            Decoded::ServerNames(names) => {
                for (span, name) in names {
                    entry(format!("{path}[{name}]"), span.start);
                }
            }
            _ => {}
        }
        entry(path.clone(), slot.key_span.start);
        match &slot.value {
            Decoded::Table(inner) => walk(inner, &format!("{path}."), lines, places),
            Decoded::Tables(inner) => {
                for (index, inner) in inner.iter().enumerate() {
                    walk(inner, &format!("{path}[{index}]."), lines, places);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_an_owner_have_their_lines() {
        let text = "[[owner]]\nname = \"a\"\n\n[[owner]]\nname = \"b\"\nquota = { bytes = 1 }\n[owner.rate_limit]\nnew_connections_per_sec = 1\n";
        let file = SourceFile::new("a.toml", text);
        let lines = owner_lines(&file, "b").expect("it is there");
        let line = |key: &str| lines.get(key).copied();
        assert_eq!([line(""), line("quota.bytes")], [Some(4), Some(6)]);
        assert_eq!(line("rate_limit.new_connections_per_sec"), Some(8));
        assert_eq!(owner_lines(&file, "c"), None);
    }

    #[test]
    fn every_key_and_entry_has_its_line_and_a_table_of_the_rule_replaces_the_default() {
        let text = "[defaults]\nowner = \"team\"\naccess = { allow = [\"10.0.0.1\"] }\n\n[[rule]]\nname = \"a\"\nlisten_port = 1\n\
                    targets = [\n  { host = \"x\", port = 1 },\n  { host = \"y\", port = 1 },\n]\n[rule.access]\ndeny = [\n  \
                    \"10.9.0.0/16\",\n]\n";
        let file = SourceFile::new("a.toml", text);
        let lines = key_lines(&file, &Origin { file: "a.toml".into(), line: 5, column: 1 });
        let line = |key: &str| lines.get(key).copied();
        assert_eq!([line("owner"), line("listen_port"), line("targets[1].host")], [Some(2), Some(7), Some(10)]);
        assert_eq!([line("access.deny"), line("access.deny[10.9.0.0/16]")], [Some(13), Some(14)]);
        assert_eq!(line("access.allow"), None);
        assert!(key_lines(&file, &Origin { file: "a.toml".into(), line: 1, column: 1 }).is_empty());
    }
}
