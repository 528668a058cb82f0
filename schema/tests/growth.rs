//! Checking a tree takes time in proportion to its size: every list of the language is doubled, and the exponent of
//! the growth is measured. `PORTUNUS_GROWTH_TO=128000` goes as far as a release build can show.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use schema::check::{CheckLimits, check_tree};
use schema::codes::TreeCode;
use schema::diagnostic::{SourceFile, all_to_json};
use schema::findings::MAX_FINDINGS;
use schema::ruleset::TreeFiles;

/// The smallest list.
const FROM: usize = 1000;
/// The largest where nothing else is asked for: a debug build doubles three times within seconds.
const TO: usize = 4000;
/// Where a test fails. What is linear measures 1.0 to 1.2, what is quadratic 2.0, and machines are noisy.
const STEEP: f64 = 1.7;
/// Shorter measurements say nothing.
const MEASURABLE: Duration = Duration::from_millis(4);

/// A list, and a tree in which it has so many entries.
type Shape = (&'static str, fn(usize) -> Vec<SourceFile>);

fn file(path: &str, text: String) -> Vec<SourceFile> {
    vec![SourceFile::new(path, text)]
}

/// So many lines, each made from its number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

fn rule_of(number: usize) -> String {
    format!("[[rule]]\nname = \"r{number}\"\nlisten_port = {}\ntarget = \"10.0.0.1:80\"\n", number % 60_000 + 1)
}

fn edges(count: usize) -> String {
    lines(count, |number| format!("[[edge]]\nname = \"e{number}\"\nlabels = {{ n = \"{number}\", all = \"1\" }}\n"))
}

const ONE: &str = "[[rule]]\nname = \"a\"\nlisten_port = 1\ntarget = \"h:2\"\n";

/// One rule with a list of texts as a key.
fn listed(before: &str, key: &str, count: usize, text: impl Fn(usize) -> String) -> Vec<SourceFile> {
    let listed: Vec<String> = (0..count).map(|number| format!("\"{}\"", text(number))).collect();
    file("a.toml", format!("{before}{ONE}{key} = [{}]\n", listed.join(", ")))
}

fn settings(text: String) -> Vec<SourceFile> {
    vec![SourceFile::new("a.toml", ONE), SourceFile::new("portunus.toml", text)]
}

fn waves(count: usize) -> String {
    let wave = |number| format!("{{ edge_labels = {{ n = \"{number}\" }} }}, ");
    format!("[rollout]\nwaves = [{}{{ edge_labels = {{}} }}]\n", lines(count, wave))
}

const VALID: &[Shape] = &[
    ("rules", |count| file("a.toml", lines(count, rule_of))),
    ("rules on one port", |count| {
        file(
            "a.toml",
            lines(count, |number| rule_of(number).replace(&format!("= {}\n", number % 60_000 + 1), "= 80\n")),
        )
    }),
    ("rules of one name", |count| file("a.toml", ONE.repeat(count))),
    ("files", |count| (0..count).map(|number| SourceFile::new(format!("f{number}.toml"), rule_of(number))).collect()),
    ("targets", |count| {
        file(
            "a.toml",
            format!(
                "[[rule]]\nname = \"a\"\nlisten_port = 1\ntargets = [{}]\n",
                lines(count, |number| { format!("{{ host = \"h{number}\", port = 1 }}, ") })
            ),
        )
    }),
    ("edges of a tree", |count| file("a.toml", format!("{}{ONE}edges = [\"*\"]\n", edges(count)))),
    ("edges of a rule", |count| listed(&edges(count), "edges", count, |number| format!("e{number}"))),
    ("unknown edges", |count| listed(&edges(count), "edges", count, |number| format!("x{number}"))),
    ("globs of edges", |count| listed(&edges(count), "edges", count, |number| format!("e{number}*"))),
    ("labels of an edge", |count| {
        let labels = lines(count, |number| format!("k{number} = \"v\", "));
        file("a.toml", format!("[[edge]]\nname = \"e\"\nlabels = {{ {labels}z = \"1\" }}\n{ONE}edges = [\"e\"]\n"))
    }),
    ("rules by label", |count| {
        let rules = lines(count, |number| format!("{}edge_labels = {{ n = \"{number}\" }}\n", rule_of(number)));
        file("a.toml", format!("{}{rules}", edges(count)))
    }),
    ("waves", |count| {
        let rules = format!("{}{ONE}edges = [\"*\"]\n", edges(count));
        vec![SourceFile::new("a.toml", rules), SourceFile::new("portunus.toml", waves(count))]
    }),
    ("globs to ignore", |count| {
        settings(format!("[tree]\nignore = [{}]\n", lines(count, |number| format!("\"docs/{number}/**\", "))))
    }),
    ("comments", |count| file("a.toml", format!("{}{ONE}", lines(count, |number| format!("# comment {number}\n"))))),
    ("letters of a string", |count| file("a.toml", format!("{ONE}description = \"{}\"\n", "x ".repeat(count * 20)))),
];

const BROKEN: &[Shape] = &[
    ("junk in TOML", |count| file("a.toml", "= = =\n".repeat(count))),
    ("junk in TOML on one line", |count| file("a.toml", "= ".repeat(count))),
    ("open brackets", |count| file("a.toml", format!("a = {}", "[".repeat(count)))),
    ("keys of a table in TOML", |count| file("a.toml", lines(count, |number| format!("k{number} = 1\n")))),
    ("one key of a table in TOML", |count| file("a.toml", "k = 1\n".repeat(count))),
    ("tables in TOML", |count| file("a.toml", lines(count, |number| format!("[t{number}.a]\nb = 1\n")))),
    ("parts of a key", |count| file("a.toml", format!("{}a = 1\n", "a.".repeat(count)))),
    ("keys in braces", |count| {
        file("a.toml", format!("a = {{{}z = 1}}\n", lines(count, |number| { format!("k{number} = 1, ") })))
    }),
    ("values of a list", |count| file("a.toml", format!("a = [{}]\n", "1, ".repeat(count)))),
    ("keys of a table in YAML", |count| file("a.yaml", lines(count, |number| format!("k{number}: 1\n")))),
    ("keys of a table in JSON", |count| {
        file("a.json", format!("{{{}\"z\": 1}}", lines(count, |number| format!("\"k{number}\": 1, "))))
    }),
    ("values of a list in JSON", |count| file("a.json", format!("{{\"a\": [{}1]}}", "1, ".repeat(count)))),
    ("rules without anything in YAML", |count| file("a.yaml", format!("rule:\n{}", "- name: a\n".repeat(count)))),
    ("rules that lack everything", |count| file("a.toml", "[[rule]]\nx = 1\n".repeat(count))),
    ("mistakes in defaults", |count| {
        let rules = lines(count, rule_of);
        file("a.toml", format!("[defaults]\nhealth = {{ timeout_ms = 9000, interval_secs = 1 }}\n{rules}"))
    }),
];

/// The shortest of three times: whatever else the machine does only adds to it.
fn time_of(files: Vec<SourceFile>) -> Duration {
    let tree = TreeFiles { files, problems: Vec::new() };
    let once = || {
        let started = Instant::now();
        let checked = check_tree(&tree, &CheckLimits::default());
        assert!(all_to_json(&checked.diagnostics).len() <= MAX_FINDINGS + 1);
        started.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

/// The slope of the times over the sizes, both as logarithms, from the first time that can be measured.
fn exponent(shape: fn(usize) -> Vec<SourceFile>, to: usize) -> Option<f64> {
    let sizes = std::iter::successors(Some(FROM), |size| Some(size * 2)).take_while(|size| *size <= to);
    let times = sizes.map(|size| (size, time_of(shape(size)))).filter(|(_, time)| *time >= MEASURABLE);
    let points: Vec<(f64, f64)> = times.map(|(size, time)| ((size as f64).ln(), time.as_secs_f64().ln())).collect();
    if points.len() < 2 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>();
    Some(over / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>())
}

/// The least steep of a few measurements, where the first is steep: load beside it comes and goes.
fn settled(shape: fn(usize) -> Vec<SourceFile>, to: usize) -> Option<f64> {
    let first = exponent(shape, to)?;
    let again = (0..3).filter(|_| first > STEEP).filter_map(|_| exponent(shape, to));
    Some(again.fold(first, f64::min))
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for with --nocapture")]
fn grows_with_its_size(shapes: &[Shape]) {
    let to = std::env::var("PORTUNUS_GROWTH_TO").ok().and_then(|text| text.parse().ok()).unwrap_or(TO);
    let mut report = String::new();
    let mut steep = Vec::new();
    for (name, shape) in shapes {
        let measured = settled(*shape, to);
        let shown = measured.map_or_else(|| "too short to measure".to_owned(), |one| format!("{one:.2}"));
        writeln!(report, "{name:<36} {shown}").expect("a string grows as needed");
        steep.extend(measured.filter(|one| *one > STEEP).map(|one| format!("{name}: {one:.2}")));
    }
    println!("exponents from {FROM} to {to} entries\n{report}");
    assert!(steep.is_empty(), "steeper than {STEEP}: {steep:?}\n{report}");
}

#[test]
fn every_list_of_a_valid_tree_may_double() {
    grows_with_its_size(VALID);
}

#[test]
fn every_mistake_may_double() {
    grows_with_its_size(BROKEN);
}

#[test]
fn junk_is_counted_and_not_kept_and_gives_the_same_findings_each_time() {
    for (path, text) in [
        ("a.toml", "= = =\n".repeat(200_000)),
        ("a.toml", "k = 1\n".repeat(100_000)),
        ("a.yaml", "rule:\n".to_owned() + &"- x: 1\n".repeat(50_000)),
        ("a.json", format!("{{\"rule\": [{}{{\"x\": 1}}]}}", "{\"x\": 1}, ".repeat(50_000))),
    ] {
        let tree = TreeFiles { files: file(path, text), problems: Vec::new() };
        let checked = check_tree(&tree, &CheckLimits::default());
        assert!(checked.ruleset.is_none());
        assert_eq!(checked.diagnostics.len(), MAX_FINDINGS + 1, "{path}");
        let last = checked.diagnostics.last().expect("not empty");
        assert!(last.more > 40_000 && last.message.starts_with(&format!("and {} more", last.more)), "{}", last.message);
        assert!(checked.diagnostics.iter().any(|one| one.code != TreeCode::MissingKey));
        let again = check_tree(&tree, &CheckLimits::default());
        assert_eq!(all_to_json(&checked.diagnostics), all_to_json(&again.diagnostics));
    }
}

#[test]
fn a_check_that_is_cancelled_ends_without_a_result() {
    let tree = TreeFiles { files: file("a.toml", rule_of(1)), problems: Vec::new() };
    let cancel = schema::findings::Cancel::default();
    let limits = CheckLimits::default();
    assert!(schema::check::check_tree_until(&tree, &limits, None, &cancel).is_some());
    cancel.cancel();
    assert!(schema::check::check_tree_until(&tree, &limits, None, &cancel).is_none());
}
