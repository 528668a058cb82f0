//! `validate`: checks a tree offline. I/O.

use reconciler::act::operator::documents::ValidateAnswer;
use reconciler::act::source;
use reconciler::decide::plan::FORMAT_VERSION;
use schema::check::check_tree;
use schema::diagnostic::{Diagnostic, all_to_json};
use schema::ruleset::{RuleSet, TreeFiles, tree_digest};

use crate::cli::{Format, ValidateArgs};
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value};
use crate::render::diagnostic;
use crate::render::words::{count, lines};
use crate::tree;

pub(crate) fn run(args: &ValidateArgs) -> Result<Exit, Failure> {
    let limits = tree::limits(args.range.range_rule_max_ports, false);
    let (answer, diagnostics) = match source::directory::read_stable(&args.dir) {
        Ok(read) if read.moved => return Err(Failure::Moving(args.dir.clone())),
        Ok(read) => {
            let files = TreeFiles { files: read.sources(), problems: read.diagnostics };
            let digest = tree_digest(&files.files);
            let checked = check_tree(&files, &limits);
            let answer = answer(checked.ruleset.as_ref(), Some(digest), &checked.diagnostics);
            (answer, checked.diagnostics)
        }
        Err(error) => {
            let diagnostics = vec![error.to_diagnostic()];
            (answer(None, None, &diagnostics), diagnostics)
        }
    };
    if args.looks.output == Format::Text {
        print(&text(&answer, &diagnostics))?;
    } else {
        print_value(args.looks.output, &answer)?;
    }
    Ok(if answer.valid { Exit::Done } else { Exit::Error })
}

fn answer(
    ruleset: Option<&RuleSet>,
    digest: Option<schema::canonical::Digest>,
    diagnostics: &[Diagnostic],
) -> ValidateAnswer {
    ValidateAnswer {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "diagnostics".to_owned(),
        valid: ruleset.is_some(),
        digest,
        rules: ruleset.map_or(0, RuleSet::rule_count),
        edges: ruleset.map_or(0, |ruleset| ruleset.edges.len()),
        diagnostics: all_to_json(diagnostics),
    }
}

fn text(answer: &ValidateAnswer, diagnostics: &[Diagnostic]) -> String {
    let mut parts = Vec::new();
    if !diagnostics.is_empty() {
        parts.push(diagnostic::all(diagnostics));
    }
    if answer.valid {
        let rules = count(answer.rules as u64, "rule");
        parts.push(format!("The tree is valid: {rules} on {}.", count(answer.edges as u64, "edge")));
    }
    lines(parts)
}
