//! Every list of the language, and every list of mistakes: a tree with so many entries. Pure.

use schema::diagnostic::SourceFile;

/// A list, and a tree in which it has so many entries.
pub(crate) type Shape = (&'static str, fn(usize) -> Vec<SourceFile>);

pub(crate) fn file(path: &str, text: String) -> Vec<SourceFile> {
    vec![SourceFile::new(path, text)]
}

/// So many lines, each made from its number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

pub(crate) fn rule_of(number: usize) -> String {
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

pub(crate) const VALID: &[Shape] = &[
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

pub(crate) const BROKEN: &[Shape] = &[
    ("junk in TOML", |count| file("a.toml", "= = =\n".repeat(count))),
    ("junk in TOML on one line", |count| file("a.toml", "= ".repeat(count))),
    ("open brackets", |count| file("a.toml", format!("a = {}", "[".repeat(count)))),
    ("keys of a table in TOML", |count| file("a.toml", lines(count, |number| format!("k{number} = 1\n")))),
    ("one key of a table in TOML", |count| file("a.toml", "k = 1\n".repeat(count))),
    ("tables in TOML", |count| file("a.toml", lines(count, |number| format!("[t{number}.a]\nb = 1\n")))),
    ("parts of a key", |count| file("a.toml", format!("{}a = 1\n", "a.".repeat(count)))),
    ("letters of a key", |count| file("a.toml", format!("{} = 1\n", "k".repeat(count)))),
    ("letters of a key in quotes", |count| file("a.toml", format!("\"{}\" = 1\n", "k ".repeat(count)))),
    ("letters of a key that cannot stand there", |count| file("a.toml", format!("{} = 1\n", "ö!".repeat(count)))),
    ("letters of a key in JSON", |count| file("a.json", format!("{{\"{}\": 1}}", "k".repeat(count)))),
    ("letters of a word", |count| file("a.toml", format!("{ONE}protocol = \"{}\"\n", "t".repeat(count)))),
    ("lists of lists in YAML", |count| file("a.yaml", format!("rule:\n{}", "- [1, [2], {a: 3}]\n".repeat(count)))),
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
