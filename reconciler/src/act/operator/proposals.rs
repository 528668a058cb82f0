//! `/v1/rules/{edge}/{rule}/source` and `/v1/proposals`: a rule's text in the tree, and what a changed one would do. I/O.
//!
//! Keeps: nothing is written, neither to the tree nor to its repository; the changed tree is planned as an upload is, with
//! the rights of the operator that asks.

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use schema::diagnostic::SourceFile;
use schema::name::{EdgeName, RuleAddress, RuleName};
use schema::ruleset::{Origin, RuleSet};
use schema::spec::field_changes;
use serde::{Deserialize, Serialize};

use super::heavy::heavy;
use super::identity::Who;
use super::revision_plan::base;
use super::write::{check, plan_of};
use super::{Failure, State, body};
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::{Purpose, TreeRead};
use crate::decide::plan::{Allowances, FORMAT_VERSION, FileDocument, Source};
use crate::decide::proposal::{
    EditedFile, MAX_TEXT, NewTarget, NotEditable, Proposal, RuleEdit, RuleSource, edited, rule_text, spec_at,
};

/// Body of `POST /v1/proposals`: exactly one of `text` and `target`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalBody {
    /// An edge of the rule.
    pub edge: EdgeName,
    /// The rule. It changes on all of its edges.
    pub rule: RuleName,
    /// Its new text, in the syntax of its file; without any text it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// One more target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<NewTarget>,
}

fn not_editable(why: &NotEditable) -> Failure {
    Failure::new(422, ProblemCode::NotEditable, "The rule cannot be changed here", why.to_string())
}

/// Where a tree declares a rule.
fn declared(ruleset: &RuleSet, address: &RuleAddress) -> Option<Origin> {
    let of = |rules: &std::collections::BTreeMap<EdgeName, schema::ruleset::EdgeRules>| {
        rules.get(&address.edge)?.get(&address.rule)?.origin.clone()
    };
    of(&ruleset.edges).or_else(|| of(&ruleset.disabled))
}

/// The tree and the place of the rule in it, if the operator may see that.
async fn find(state: &State, who: &Who, address: &RuleAddress) -> Result<(TreeRead, Origin), Failure> {
    let tree = base(state).await?;
    let (who, wanted) = (who.clone(), address.clone());
    let looked = state.context.fleet.read(move |view| {
        let (edges, RuleAddress { edge, rule }) = (view.fleet.edges(), &wanted);
        let is_override = edges.get(edge).is_some_and(|view| view.overrides.contains_key(rule));
        (who.sees(edges, edge, rule), is_override)
    });
    let (is_seen, is_override) = looked.await?;
    let origin = tree.ruleset.as_ref().and_then(|ruleset| declared(ruleset, address));
    match origin {
        Some(origin) if is_seen => Ok((tree, origin)),
        None if is_seen && is_override => {
            let detail = format!(
                "{address} is a break-glass rule, which no tree holds: commit what `portunus override export` prints"
            );
            Err(Failure::new(409, ProblemCode::OverrideRule, "The rule is in no tree", detail))
        }
        _ => Err(Failure::not_found(format!("the tree has no rule {address}"))),
    }
}

pub(super) async fn source(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, rule)): Path<(String, String)>,
) -> Result<Json<RuleSource>, Failure> {
    let unknown = |_| Failure::unknown("rule", format_args!("{edge}/{rule}"));
    let address = RuleAddress::parse(&format!("{edge}/{rule}")).map_err(unknown)?;
    let (tree, origin) = find(&state, &who, &address).await?;
    let found = heavy(move || {
        let file = tree.files.iter().find(|file| file.path == origin.file)?;
        let file = SourceFile::new(file.path.clone(), file.text.clone());
        let place = rule_text(&file, &origin);
        Some(place.map(|place| RuleSource {
            file: tree.source.path_of(&file.path),
            source: tree.source.clone(),
            line: place.line,
            text: place.text(&file).to_owned(),
        }))
    });
    let gone = || Failure::not_found(format!("the tree has no file with {address}"));
    let found = found.await?.ok_or_else(gone)?;
    found.map(Json).map_err(|why| not_editable(&why.into()))
}

pub(super) async fn propose(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<Proposal>, Failure> {
    // A tree is checked and planned, as for an upload.
    let (request, _place): (ProposalBody, _) = body::tree(&state, &headers, request).await?;
    let edit = wanted(request.text, request.target)?;
    let address = RuleAddress { edge: request.edge, rule: request.rule };
    let (tree, origin) = find(&state, &who, &address).await?;
    let (files, of_rule) = (tree.files.clone(), origin.clone());
    let asked = edit.clone();
    let change = heavy(move || edited(&files, &of_rule, &asked)).await?.map_err(|why| not_editable(&why))?;
    let changed = with(&tree.files, &change);
    let source = proposed(&tree.source, &change);
    let checked = check(&state, changed, Some(source), false).await?.into_read();
    let read = checked
        .map_err(|failure| if who.caller.limits.is_none() { failure } else { of_rule_only(failure, &change) })?;
    let ruleset = read.ruleset.clone().expect("a tree with errors is refused");
    if let RuleEdit::Target(_) = edit {
        has_one_more(tree.ruleset.as_deref(), &ruleset, &address)?;
    }
    let allowances = Allowances { dirty: true, non_descendant: true, ..Allowances::default() };
    let mut plan = plan_of(&state, &who, read, allowances, &Purpose::Apply).await?;
    // It is to be committed first, and is then the tree that is followed.
    plan.not_followed = None;
    let is_limited = !who.caller.limits.is_none();
    let patch = if is_limited { change.patch_of_rule(&tree.source) } else { Some(change.patch(&tree.source)) };
    Ok(Json(Proposal {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "proposal".to_owned(),
        file: tree.source.path_of(&change.before.path),
        line: change.line,
        diff: change.shown(),
        patch,
        spec: spec_at(&ruleset, &address.edge, &origin.file, origin.line),
        text: change.new_rule,
        source: tree.source,
        plan: plan.into(),
    }))
}

/// Findings elsewhere name what an operator with limits may not see.
fn of_rule_only(mut failure: Failure, change: &EditedFile) -> Failure {
    let last = change.line + change.new_rule.matches('\n').count() as u32;
    failure.0.diagnostics.retain_mut(|found| {
        found.related.clear();
        *found.file == *change.before.path && found.line.is_some_and(|line| (change.line..=last).contains(&line))
    });
    failure
}

fn wanted(text: Option<String>, target: Option<NewTarget>) -> Result<RuleEdit, Failure> {
    match (text, target) {
        (Some(text), None) if text.len() <= MAX_TEXT => Ok(RuleEdit::Text(text)),
        (Some(_), None) => Err(not_editable(&NotEditable::TooLong)),
        (None, Some(target)) => Ok(RuleEdit::Target(target)),
        _ => Err(Failure::new(
            400,
            ProblemCode::BadRequest,
            "Not a proposal",
            "exactly one of `text` and `target` is required",
        )),
    }
}

/// The tree with the changed file.
fn with(files: &[FileDocument], change: &EditedFile) -> Vec<FileDocument> {
    let of = |file: &FileDocument| if file.path == change.after.path { change.after.clone() } else { file.clone() };
    files.iter().map(of).collect()
}

/// The provenance of the changed tree: the commit that it starts from, and the file that differs.
fn proposed(source: &Source, change: &EditedFile) -> Source {
    let mut paths = source.dirty_paths.clone();
    if !paths.iter().any(|path| **path == *change.before.path) {
        paths.push(change.before.path.to_string());
    }
    Source { dirty: true, dirty_paths: paths, ..source.clone() }
}

/// Refuses an edit that did more, or less, than to add a target.
fn has_one_more(before: Option<&RuleSet>, after: &RuleSet, address: &RuleAddress) -> Result<(), Failure> {
    let of = |ruleset: &RuleSet| {
        let rules = [&ruleset.edges, &ruleset.disabled];
        rules.into_iter().find_map(|rules| Some(rules.get(&address.edge)?.get(&address.rule)?.rule.clone()))
    };
    let is_one_more = before.and_then(of).zip(of(after)).is_some_and(|(before, after)| {
        let new = format!("targets[{}].", before.targets.len());
        after.targets.len() == before.targets.len() + 1
            && field_changes(&before, &after).iter().all(|field| field.path.starts_with(&new))
    });
    if is_one_more { Ok(()) } else { Err(not_editable(&NotEditable::Targets)) }
}
