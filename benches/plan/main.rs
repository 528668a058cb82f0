//! How long a large tree takes to validate and to plan, against parsing the same bytes with `toml` and `serde_json`.
//! I/O: measures in this process and in processes of its own; prints a table and never fails.
//!
//! Keeps: the measured work and its yardstick take turns, so that a slow moment of the machine meets both.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod tree;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reconciler::decide::plan::{Allowances, PlanDocument, PlanInput, Source, plan};
use reconciler::decide::status::{StatusDocument, edges_of};
use schema::check::{Checked, check_tree};
use schema::ruleset::{TreeFiles, tree_digest};

use tree::{Fleet, Size};

/// An odd number, so that the median is one of them.
const ROUNDS: usize = 7;
const SIZE: Size = Size { edges: 1000, rules_per_edge: 100 };

fn validate(tree: &TreeFiles) -> Checked {
    check_tree(tree, &tree::limits())
}

/// What `plan --live -o json` does with the bytes of its files.
fn plan_live(tree: &TreeFiles, status: &[u8]) -> (PlanDocument, Vec<u8>) {
    let checked = validate(tree);
    let ruleset = checked.ruleset.expect("the generated tree is valid");
    let status: StatusDocument = serde_json::from_slice(status).expect("the generated status is one");
    let edges = edges_of(&status).expect("its rules are valid");
    let source = Source::unversioned(tree_digest(&tree.files));
    let document = PlanDocument::from(plan(&PlanInput {
        ruleset: &ruleset,
        source: &source,
        edges: &edges,
        lineage: &status.lineage,
        rails: status.revision.rails.as_ref(),
        succession: reconciler::decide::succession::Succession::default(),
        allowances: &Allowances::default(),
        diagnostics: &[],
        now: Timestamp::UNIX_EPOCH,
    }));
    let json = serde_json::to_vec_pretty(&document).expect("a plan is JSON");
    (document, json)
}

fn tables(tree: &TreeFiles) -> Vec<toml::Table> {
    tree.files.iter().map(|file| file.text.parse().expect("the generated tree is TOML")).collect()
}

fn value(status: &[u8]) -> serde_json::Value {
    serde_json::from_slice(status).expect("the generated status is JSON")
}

/// The time until the result is there; taking it apart again is not measured.
fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = black_box(work());
    let elapsed = start.elapsed();
    drop(result);
    elapsed
}

fn run(command: &mut Command) -> Duration {
    let start = Instant::now();
    let output = command.output().expect("the process runs");
    let elapsed = start.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    elapsed
}

struct Series(Vec<Duration>);

impl Series {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2].as_secs_f64() * 1000.0
    }

    fn print(&self, name: &str, yardstick: Option<&Self>) {
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        let ratio = yardstick.map_or_else(String::new, |other| format!("{:.2}", self.median() / other.median()));
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        println!("| {name} | {:.0} ms | {:.0}–{:.0} ms | {ratio} |", self.median(), millis(first), millis(last));
    }
}

/// The most memory that this process ever had, in MiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Does one thing in a process that did nothing else, and says how much memory it took.
fn peak_of(what: &str, dir: &Path) {
    let tree = tree::read(&dir.join("rules.d"));
    if what == "validate" {
        drop(black_box(validate(&tree)));
    } else {
        let status = std::fs::read(dir.join("status.json")).expect("the status is there");
        drop(black_box(plan_live(&tree, &status)));
    }
    println!("{}", peak().map_or_else(|| "?".to_owned(), |peak| peak.to_string()));
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, option, what, dir] = &args[..]
        && option == "--peak"
    {
        peak_of(what, Path::new(dir));
        return;
    }
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --benches` asks whether it builds and starts; measuring takes minutes.
        return;
    }
    let fleet = Fleet::generate(SIZE);
    let (tree, status) = (&fleet.tree, &fleet.status[..]);
    let dir = tempfile::tempdir().expect("a temporary folder");
    fleet.write(dir.path());
    let (document, json) = plan_live(tree, status);
    println!(
        "{} rules on {} edges in {} files, {:.1} MiB of TOML, {:.1} MiB of status, {} changes, {:.1} MiB of plan\n",
        SIZE.edges * SIZE.rules_per_edge,
        SIZE.edges,
        tree.files.len(),
        mebibytes(tree.files.iter().map(|file| file.text.len()).sum()),
        mebibytes(status.len()),
        document.summary.changes(),
        mebibytes(json.len()),
    );
    drop((document, json));

    let mut times: [Vec<Duration>; 6] = Default::default();
    let (rules, live) = (dir.path().join("rules.d"), dir.path().join("status.json"));
    let tool = || {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_portunus"));
        tool.env_clear().current_dir(dir.path());
        tool
    };
    for _ in 0..ROUNDS {
        times[0].push(time(|| tables(tree)));
        times[1].push(time(|| validate(tree)));
        times[2].push(time(|| (tables(tree), value(status))));
        times[3].push(time(|| plan_live(tree, status)));
        times[4].push(run(tool().arg("validate").arg(&rules)));
        times[5].push(run(tool().arg("plan").arg(&rules).arg("--live").arg(&live).args(["-o", "json"])));
    }
    let [toml, validate, toml_json, plan, tool_validate, tool_plan] = times.map(Series::of);
    println!("| work | median | spread | ratio |\n|---|---|---|---|");
    toml.print("`toml::Table` of the tree", None);
    validate.print("parse and check", Some(&toml));
    tool_validate.print("`portunus validate`, the whole process", Some(&toml));
    toml_json.print("`toml::Table` of the tree and `serde_json::Value` of the status", None);
    plan.print("parse, check, read the status, plan, write JSON", Some(&toml_json));
    tool_plan.print("`portunus plan --live -o json`, the whole process", Some(&toml_json));
    println!();
    for what in ["validate", "plan"] {
        let this = std::env::current_exe().expect("this program has a path");
        let output = Command::new(this).args(["--peak", what]).arg(dir.path()).output().expect("this program runs");
        println!("{what}: at most {} MiB", String::from_utf8_lossy(&output.stdout).trim());
    }
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
