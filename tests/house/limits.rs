//! docs/limits.md: every bound that it lists is where it says. I/O: reads the files.

use crate::workspace::{assert_none, file, files};

/// The rows of the tables: line and cells.
fn rows(text: &str) -> Vec<(usize, Vec<&str>)> {
    let is_row = |line: &str| line.starts_with("| ") && !line.starts_with("| bound |");
    let rows = text.lines().enumerate().filter(|(_, line)| is_row(line));
    rows.map(|(number, line)| (number + 1, line.trim_matches('|').split('|').map(str::trim).collect())).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_limit_is_where_the_document_says() {
    let rows = rows(file("docs/limits.md").text());
    assert!(rows.len() > 50, "{}", rows.len());
    let mut findings = Vec::new();
    for (line, cells) in rows {
        let place = |finding: String| format!("docs/limits.md:{line}: {finding}");
        let [_, number, why, r#where, seen] = *cells else {
            findings.push(place(format!("{} cells instead of five", cells.len())));
            continue;
        };
        if [number, why, seen].iter().any(|cell| cell.is_empty()) {
            findings.push(place("a cell is empty".to_owned()));
        }
        let [path, name] = *quoted(r#where) else {
            findings.push(place("the fourth cell names a file and a constant".to_owned()));
            continue;
        };
        let source = files().iter().find(|file| file.path == path).and_then(|file| file.text.as_deref());
        let declared = ["const", "struct", "fn"].map(|kind| format!("{kind} {name}"));
        match source {
            None => findings.push(place(format!("there is no {path}"))),
            Some(source) if !declared.iter().any(|declared| source.contains(declared.as_str())) => {
                findings.push(place(format!("{path} has no {name}")));
            }
            Some(_) => {}
        }
    }
    assert_none("limits that are not where the document says", &findings);
}
