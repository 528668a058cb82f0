//! The inventory, and which edges a rule selects. Pure.
//!
//! Keeps: `local` is always known; other names must be in the inventory once there is one; globs and labels are
//! looked up in the inventory only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use globset::Glob;

use super::{RuleEntry, RuleFile, edges_of};
use crate::codes::TreeCode;
use crate::decode::{Decoded, Draft, Slot, shortened};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{closest, edge, rule};
use crate::findings::Findings;
use crate::name::{EdgeName, Labels};

/// Unknown names that are compared with every edge of the inventory, to say what may be meant.
const MAX_HINTS: usize = 100;

const LOCAL: &str = "local";

/// Every edge that the tree names, by number. The inventory comes first.
pub(super) struct Fleet<'t> {
    names: Vec<EdgeName>,
    numbers: HashMap<EdgeName, u32>,
    labels: Vec<Labels>,
    local: Option<Arc<[u32]>>,
    /// Results of globs, by their text.
    globs: HashMap<String, Vec<u32>>,
    /// The edge of the inventory that an unknown name looks like.
    hints: HashMap<String, Option<String>>,
    /// The edges of the inventory with a label, once a rule asks.
    by_label: Option<HashMap<(String, String), Vec<u32>>>,
    /// The edges of the inventory by their names, once a rule asks.
    sorted: Option<Vec<u32>>,
    /// The selection of the last `[defaults]`, which all rules of a file share.
    shared: Option<(&'t SourceFile, Arc<[u32]>)>,
}

impl<'t> Fleet<'t> {
    /// Reads the inventory of all files.
    pub(super) fn gather(files: &[RuleFile<'t>], diagnostics: &mut Findings) -> Self {
        let mut fleet = Self {
            names: Vec::new(),
            numbers: HashMap::new(),
            labels: Vec::new(),
            local: None,
            globs: HashMap::new(),
            hints: HashMap::new(),
            by_label: None,
            sorted: None,
            shared: None,
        };
        let mut places: Vec<(&SourceFile, Span)> = Vec::new();
        for (file, draft) in files.iter().flat_map(edges_of) {
            let Some(slot) = draft.get(edge::NAME) else { continue };
            let Some(name) = slot.text().and_then(|text| EdgeName::new(text).ok()) else { continue };
            if let Some(number) = fleet.numbers.get(&name) {
                let (first_file, first_span) = places[*number as usize];
                let message = format!("edge `{name}` is listed twice");
                diagnostics.push(
                    Diagnostic::error(TreeCode::DuplicateEdge, file, slot.span, message)
                        .label("listed again here")
                        .related(first_file, first_span, "listed first here"),
                );
                continue;
            }
            places.push((file, slot.span));
            fleet.number(name);
            fleet.labels.push(labels_of(draft));
        }
        fleet
    }

    fn number(&mut self, name: EdgeName) -> u32 {
        let next = self.names.len() as u32;
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        })
    }

    /// The name of an edge.
    pub(super) fn name(&self, number: u32) -> &EdgeName {
        &self.names[number as usize]
    }

    /// The inventory as the rule set holds it.
    pub(super) fn inventory(&self) -> BTreeMap<EdgeName, Labels> {
        self.names.iter().cloned().zip(self.labels.iter().cloned()).collect()
    }

    /// The entries of each edge, in tree order.
    pub(super) fn by_edge(&self, entries: &[RuleEntry<'_>]) -> Vec<Vec<u32>> {
        let mut by_edge = vec![Vec::new(); self.names.len()];
        for (index, entry) in entries.iter().enumerate() {
            for number in &*entry.edges {
                by_edge[*number as usize].push(index as u32);
            }
        }
        by_edge
    }

    /// The edges of a rule: its own selection, else that of its file's `[defaults]`, else `local`.
    pub(super) fn select(
        &mut self,
        file: &'t SourceFile,
        own: &Draft<'_>,
        defaults: Option<&Draft<'_>>,
        diagnostics: &mut Findings,
    ) -> Arc<[u32]> {
        if let Some(slot) = own.get(rule::EDGES).or_else(|| own.get(rule::EDGE_LABELS)) {
            return self.resolve(file, slot, diagnostics).into();
        }
        let inherited = defaults.and_then(|draft| draft.get(rule::EDGES).or_else(|| draft.get(rule::EDGE_LABELS)));
        let Some(slot) = inherited else { return self.local() };
        match &self.shared {
            Some((of, edges)) if std::ptr::eq(*of, file) => edges.clone(),
            _ => {
                let edges: Arc<[u32]> = self.resolve(file, slot, diagnostics).into();
                self.shared = Some((file, edges.clone()));
                edges
            }
        }
    }

    fn local(&mut self) -> Arc<[u32]> {
        if let Some(local) = &self.local {
            return local.clone();
        }
        let local: Arc<[u32]> = [self.number(EdgeName::local())].into();
        self.local = Some(local.clone());
        local
    }

    /// The edges that a slot names, ascending; what it cannot name is reported.
    fn resolve(&mut self, file: &SourceFile, slot: &Slot<'_>, diagnostics: &mut Findings) -> Vec<u32> {
        let error = |code, span, message: String| Diagnostic::error(code, file, span, message);
        let mut edges = Vec::new();
        match &slot.value {
            Decoded::Texts(texts) if texts.is_empty() => {
                diagnostics.push(error(TreeCode::InvalidValue, slot.span, "`edges` is empty".to_owned()));
            }
            Decoded::Texts(texts) => {
                for (span, text) in texts {
                    match self.named(text, &mut edges) {
                        Ok(()) => {}
                        Err((code, message, help)) => {
                            let mut found = error(code, *span, message);
                            found.help = help;
                            diagnostics.push(found);
                        }
                    }
                }
            }
            Decoded::Map(wanted) if wanted.is_empty() => {
                diagnostics.push(error(TreeCode::InvalidValue, slot.span, "`edge_labels` is empty".to_owned()));
            }
            Decoded::Map(wanted) => {
                let wanted: Vec<_> = wanted.iter().map(|(key, value)| (&**key, &**value)).collect();
                edges = self.labelled(&wanted);
                if edges.is_empty() {
                    let message = "no edge of the inventory has these labels".to_owned();
                    let help = self.inventory_help();
                    diagnostics.push(error(TreeCode::NoEdgeMatches, slot.span, message).help(help));
                }
            }
            _ => {}
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn named(&mut self, text: &str, edges: &mut Vec<u32>) -> Result<(), (TreeCode, String, Option<String>)> {
        if let Some(number) = self.numbers.get(text) {
            edges.push(*number);
            return Ok(());
        }
        if text.contains(['*', '?', '[', '{']) {
            return self.glob(text, edges);
        }
        let name = EdgeName::new(text).map_err(|error| {
            (
                TreeCode::InvalidValue,
                format!(
                    "`{}` is not a valid edge name: \
                {error}",
                    shortened(text)
                ),
                None,
            )
        })?;
        if self.labels.is_empty() || text == LOCAL {
            edges.push(self.number(name));
            return Ok(());
        }
        let help = match self.hint(text) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "add an `[[edge]]` entry with this name".to_owned(),
        };
        Err((TreeCode::UnknownEdge, format!("the inventory has no edge `{text}`"), Some(help)))
    }

    /// The edge of the inventory that a name looks like. Only the first unknown names are compared with all.
    fn hint(&mut self, text: &str) -> Option<String> {
        if !self.hints.contains_key(text) {
            if self.hints.len() >= MAX_HINTS {
                return None;
            }
            let names = self.names[..self.labels.len()].iter().map(EdgeName::as_str);
            self.hints.insert(text.to_owned(), closest(text, names).map(str::to_owned));
        }
        self.hints[text].clone()
    }

    /// The edges of the inventory with all of these labels, ascending.
    pub(super) fn labelled(&mut self, wanted: &[(&str, &str)]) -> Vec<u32> {
        let labels = &self.labels;
        let by_label = self.by_label.get_or_insert_with(|| {
            let mut by_label = HashMap::<(String, String), Vec<u32>>::new();
            for (number, own) in (0..).zip(labels) {
                for (key, value) in own {
                    by_label.entry((key.clone(), value.clone())).or_default().push(number);
                }
            }
            by_label
        });
        let having = wanted.iter().map(|(key, value)| by_label.get(&((*key).to_owned(), (*value).to_owned())));
        // Those with the rarest of the labels, and of them those with the others.
        let Some(rarest) = having.map(|found| found.map_or(&[][..], Vec::as_slice)).min_by_key(|found| found.len())
        else {
            return Vec::new();
        };
        let has = |number: &&u32| {
            let own = &labels[**number as usize];
            wanted.iter().all(|(key, value)| own.get(*key).is_some_and(|own| own == value))
        };
        rarest.iter().filter(has).copied().collect()
    }

    /// The edges whose names begin like this, in the order of their names.
    fn beginning_with(&mut self, prefix: &str) -> &[u32] {
        let names = &self.names[..self.labels.len()];
        let sorted = self.sorted.get_or_insert_with(|| {
            let mut sorted: Vec<u32> = (0..names.len() as u32).collect();
            sorted.sort_unstable_by_key(|number| &names[*number as usize]);
            sorted
        });
        let name = |number: &u32| names[*number as usize].as_str();
        let from = sorted.partition_point(|number| name(number) < prefix);
        let length = sorted[from..].partition_point(|number| name(number).starts_with(prefix));
        &sorted[from..from + length]
    }

    fn glob(&mut self, text: &str, edges: &mut Vec<u32>) -> Result<(), (TreeCode, String, Option<String>)> {
        if !self.globs.contains_key(text) {
            let glob = Glob::new(text).map_err(|error| {
                (TreeCode::InvalidValue, format!("`{}` is not a valid glob: {}", shortened(text), error.kind()), None)
            })?;
            let matcher = glob.compile_matcher();
            let literal = &text[..text.find(['*', '?', '[', '{', '\\']).unwrap_or(text.len())];
            let mut found = self.beginning_with(literal).to_vec();
            found.retain(|number| matcher.is_match(self.names[*number as usize].as_str()));
            self.globs.insert(text.to_owned(), found);
        }
        let found = &self.globs[text];
        if found.is_empty() {
            let message = format!("no edge of the inventory matches `{}`", shortened(text));
            return Err((TreeCode::NoEdgeMatches, message, Some(self.inventory_help())));
        }
        edges.extend(found);
        Ok(())
    }

    fn inventory_help(&self) -> String {
        match self.labels.len() {
            0 => "globs and labels need an inventory: add `[[edge]]` entries to the tree".to_owned(),
            count => format!("the inventory has {count} edge(s): add one or fix the selector"),
        }
    }
}

fn labels_of(draft: &Draft<'_>) -> Labels {
    match draft.get(edge::LABELS).map(|slot| &slot.value) {
        Some(Decoded::Map(map)) => map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        _ => Labels::new(),
    }
}
