//! Where a traced rule and what concerns it stand in a tree: its own keys, its owner's entry, and lines of its list files.
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::check::{key_lines, owner_lines};
use schema::diagnostic::SourceFile;
use schema::networks::line_in_list;
use schema::ruleset::EdgeRules;
use schema::text::Syntax;

use super::{KeyLines, Trace, TracePlace, TracedRule};

/// Where the entry of an owner stands, with the lines of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerPlace {
    file: Arc<str>,
    lines: KeyLines,
}

impl OwnerPlace {
    /// The place of a key, such as `quota.bytes`, or of the nearest one above it.
    pub(super) fn of(&self, key: &str) -> Option<TracePlace> {
        let mut parents = std::iter::successors(Some(key), |key| (!key.is_empty()).then(|| parent(key)));
        let line = parents.find_map(|key| self.lines.get(key))?;
        Some(TracePlace { file: self.file.clone(), line: *line })
    }
}

fn parent(key: &str) -> &str {
    key.rfind('.').map_or("", |end| &key[..end])
}

/// The rules of an edge in a tree of these files.
pub fn of_tree(rules: &EdgeRules, files: &[SourceFile]) -> Vec<TracedRule> {
    let by_path: BTreeMap<&str, &SourceFile> = files.iter().map(|file| (&*file.path, file)).collect();
    let traced = rules.values().map(|placed| {
        let rule = placed.rule.clone();
        let file = |path: &str| by_path.get(path).copied();
        let lines = placed.origin.as_ref().and_then(|origin| Some(key_lines(file(&origin.file)?, origin)));
        let owner = rule.owner_limits.as_ref().and_then(|_| {
            let in_file = |file: &SourceFile| Some((file.path.clone(), owner_lines(file, &rule.owner)?));
            // Parsing a file costs more than looking for the word.
            let may_have = files.iter().filter(|file| file.text.contains("owner"));
            may_have.filter(|file| Syntax::of_path(&file.path).is_some()).find_map(in_file)
        });
        let owner = owner.map(|(file, lines)| OwnerPlace { file, lines });
        let (origin, lines) = (placed.origin.clone(), lines.unwrap_or_default());
        TracedRule { rule, origin, targets: Vec::new(), lines, owner }
    });
    traced.collect()
}

impl Trace {
    /// Names the line of the list file that decided about the source, where one did and these files have it.
    #[must_use]
    pub fn placed_in_lists(mut self, rules: &[TracedRule], files: &[SourceFile]) -> Self {
        let place = || {
            let (access, name) = (self.access.as_ref()?, self.rule.as_ref()?);
            let rule = rules.iter().find(|traced| traced.rule.name == *name)?.rule.access.as_ref()?;
            let list = match access.list.as_str() {
                "allow_file" => rule.allow_file.as_ref()?,
                "deny_file" => rule.deny_file.as_ref()?,
                _ => return None,
            };
            let file = files.iter().find(|file| *file.path == *list.path)?;
            let line = line_in_list(file, access.network.as_ref()?.parse().ok()?)?;
            Some(TracePlace { file: list.path.clone(), line })
        };
        if let Some(place) = place()
            && let Some(access) = &mut self.access
        {
            access.place = Some(place);
        }
        self
    }
}
