//! A large fleet: its tree, and the status that it had before one rule in a hundred was changed. Pure but for writing it.

use std::fmt::Write as _;
use std::path::Path;

use reconciler::decide::status::{StatusDocument, edge_status};
use reconciler::decide::view::{DesiredEdge, EdgeView, Hello, Report, RuleView};
use schema::canonical::rules_digest;
use schema::capability::Capability;
use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::SourceFile;
use schema::ruleset::{EdgeRules, RuleSet, TreeFiles};
use schema::state::RuleState;

/// How large the fleet is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) edges: usize,
    pub(crate) rules_per_edge: usize,
}

/// One rule in so many differs from the status.
const CHANGED: usize = 100;

pub(crate) struct Fleet {
    pub(crate) tree: TreeFiles,
    /// As `status -o json` prints it.
    pub(crate) status: Vec<u8>,
}

pub(crate) fn limits() -> CheckLimits {
    CheckLimits::default()
}

impl Fleet {
    pub(crate) fn generate(size: Size) -> Self {
        let before = check_tree(&files(size, false), &limits()).ruleset.expect("the generated tree is valid");
        let status = serde_json::to_vec_pretty(&status(&before)).expect("a status is JSON");
        Self { tree: files(size, true), status }
    }

    /// Writes `rules.d` and `status.json`.
    pub(crate) fn write(&self, dir: &Path) {
        let rules = dir.join("rules.d");
        std::fs::create_dir(&rules).expect("the folder is new");
        for file in &self.tree.files {
            std::fs::write(rules.join(&*file.path), file.text.as_bytes()).expect("the folder can be written");
        }
        std::fs::write(dir.join("status.json"), &self.status).expect("the folder can be written");
    }
}

/// The files of a folder that [`Fleet::write`] made.
pub(crate) fn read(rules: &Path) -> TreeFiles {
    let mut files: Vec<SourceFile> = std::fs::read_dir(rules)
        .expect("the folder is there")
        .map(|entry| {
            let entry = entry.expect("the folder can be read");
            let text = std::fs::read_to_string(entry.path()).expect("the file is text");
            SourceFile::new(entry.file_name().to_string_lossy(), text)
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    TreeFiles { files, problems: Vec::new() }
}

/// A file for each edge, as teams keep them. Every rule says all that it needs.
fn files(size: Size, is_changed: bool) -> TreeFiles {
    let mut files = Vec::with_capacity(size.edges + 1);
    let mut inventory = String::new();
    for edge in 0..size.edges {
        let mut text = String::new();
        for rule in 0..size.rules_per_edge {
            let is_changed = is_changed && (edge * size.rules_per_edge + rule).is_multiple_of(CHANGED);
            write_rule(&mut text, edge, rule, is_changed);
        }
        files.push(SourceFile::new(format!("edge-{edge:04}.toml"), text));
        let region = ["fra", "ams", "sin", "iad"][edge % 4];
        write!(inventory, "[[edge]]\nname = \"edge-{edge:04}\"\nlabels = {{ region = \"{region}\" }}\n\n")
            .expect("a string takes all");
    }
    files.push(SourceFile::new("edges.toml", inventory));
    TreeFiles { files, problems: Vec::new() }
}

fn write_rule(text: &mut String, edge: usize, rule: usize, is_changed: bool) {
    let port = 10_000 + rule * 100;
    let target = if is_changed { "new.internal" } else { "upstream.internal" };
    write!(
        text,
        "[[rule]]\nname = \"service-{rule:03}\"\nedges = [\"edge-{edge:04}\"]\nowner = \"team-{}\"\n",
        rule % 17
    )
    .expect("a string takes all");
    // One in ten is a range, as large fleets have them.
    let (listen, ports) = match rule % 10 {
        0 => (format!("listen_ports = \"{port}-{}\"", port + 49), format!("{}-{}", port + 1000, port + 1049)),
        _ => (format!("listen_port = {port}"), (port + 1000).to_string()),
    };
    write!(text, "{listen}\ntarget = \"{target}:{ports}\"\nmax_connections = 5000\n\n").expect("a string takes all");
}

/// Every rule of the tree runs as it says.
fn status(ruleset: &RuleSet) -> StatusDocument {
    let edges = ruleset
        .edges
        .iter()
        .map(|(name, rules)| edge_status(name, &view(rules), jiff::Timestamp::UNIX_EPOCH))
        .collect();
    StatusDocument { lineage: "bench".to_owned(), edges, ..StatusDocument::default() }
}

fn view(rules: &EdgeRules) -> EdgeView {
    let digest = rules_digest(rules.values().map(|placed| &*placed.rule));
    let running = |placed: &schema::ruleset::Placed| RuleView {
        state: RuleState::Active,
        code: String::new(),
        message: String::new(),
        running: Some(placed.rule.clone()),
        wanted: None,
        connections: 12,
        live: None,
        health: None,
        targets: Vec::new(),
        flow_limit: None,
    };
    EdgeView {
        connected: true,
        hello: Some(Hello { capabilities: Capability::ALL.iter().copied().collect(), ..Hello::default() }),
        desired: Some(DesiredEdge {
            generation: 1,
            wanted: rules.clone(),
            rules: rules.clone(),
            digest,
            ..DesiredEdge::default()
        }),
        report: Some(Report {
            generation: 1,
            desired_digest: digest,
            running_digest: digest,
            rules: rules.iter().map(|(name, placed)| (name.clone(), running(placed))).collect(),
            ..Report::default()
        }),
        ..EdgeView::default()
    }
}
