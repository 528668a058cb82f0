//! `target pause/resume/disable/enable/weight/check`: what operators do to a target at runtime. I/O.
//!
//! Exit codes: 0 also where nothing had to change; 5 where `check` finds a target down, or an operation on an edge did
//! not reach all of its targets.

use jiff::Timestamp;
use reconciler::act::operator::documents::{CheckDocument, TargetBody, TargetsAnswer, TargetsDocument};
use reconciler::decide::fleet::TargetAnswer;
use reconciler::decide::target_totals::TargetRow;
use schema::health::TargetState;
use schema::name::{EdgeName, RuleAddress, RuleName};
use serde::Serialize;

use super::check_all;
use crate::cli::{
    Selector, ServerArgs, TargetArgs, TargetCheckArgs, TargetCommand, TargetEndArgs, TargetSetArgs, TargetWeightArgs,
    TermsArgs,
};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value};
use crate::render::{style, targets};

pub(crate) async fn run(command: &TargetCommand) -> Result<Exit, Failure> {
    match command {
        TargetCommand::Pause(args) => set(args, "pause").await,
        TargetCommand::Resume(args) => end(args, "resume").await,
        TargetCommand::Disable(args) => set(args, "disable").await,
        TargetCommand::Enable(args) => end(args, "enable").await,
        TargetCommand::Weight(args) => weigh(args).await,
        TargetCommand::Check(args) => check(args).await,
    }
}

fn body(operation: &str) -> TargetBody {
    TargetBody { operation: operation.to_owned(), ..TargetBody::default() }
}

fn with_terms(operation: &str, terms: &TermsArgs) -> TargetBody {
    let ttl_secs = terms.ttl.map(|ttl| ttl.as_secs());
    TargetBody { why: terms.why.clone(), ttl_secs, ..body(operation) }
}

async fn set(args: &TargetSetArgs, operation: &str) -> Result<Exit, Failure> {
    order(&args.place, &with_terms(operation, &args.terms)).await
}

async fn end(args: &TargetEndArgs, operation: &str) -> Result<Exit, Failure> {
    order(&args.place, &TargetBody { why: args.why.clone(), ..body(operation) }).await
}

async fn weigh(args: &TargetWeightArgs) -> Result<Exit, Failure> {
    let body = TargetBody { weight: Some(args.weight), ..with_terms("weight", &args.terms) };
    let answer: TargetAnswer = ask(&args.server, &args.rule, Some(&args.target), &body).await?;
    if !print_value(args.looks.output, &answer)? {
        print(&line(&answer))?;
    }
    Ok(Exit::Done)
}

async fn order(args: &TargetArgs, body: &TargetBody) -> Result<Exit, Failure> {
    let rule = match &args.place {
        Selector::Rule(rule) => rule,
        Selector::Edge(edge) => return of_edge(args, edge, body).await,
    };
    let (text, is_printed) = if args.target.is_some() {
        let answer: TargetAnswer = ask(&args.server, rule, args.target.as_deref(), body).await?;
        (line(&answer), print_value(args.looks.output, &answer)?)
    } else {
        let answer: TargetsAnswer = ask(&args.server, rule, None, body).await?;
        (answer.targets.iter().map(line).collect(), print_value(args.looks.output, &answer)?)
    };
    if !is_printed {
        print(&text)?;
    }
    Ok(Exit::Done)
}

/// What the operations on an edge print with `-o json`.
#[derive(Serialize)]
struct EdgeAnswer {
    edge: EdgeName,
    targets: Vec<TargetAnswer>,
    failed: Vec<FailedTarget>,
}

/// A target that the operation did not reach.
#[derive(Serialize)]
struct FailedTarget {
    rule: RuleName,
    target: String,
    message: String,
}

/// Every target of an edge, or the one of that name in every rule that has it. A refusal of one does not stop the rest.
async fn of_edge(args: &TargetArgs, edge: &EdgeName, body: &TargetBody) -> Result<Exit, Failure> {
    let path = format!("/v1/targets?edge={edge}");
    let known: TargetsDocument = Client::new(&args.server)?.get(&path).await?;
    let is_meant = |row: &TargetRow| args.target.as_ref().is_none_or(|target| row.target.target == *target);
    let mut answer = EdgeAnswer { edge: edge.clone(), targets: Vec::new(), failed: Vec::new() };
    for row in known.targets.into_iter().filter(is_meant) {
        let rule = RuleAddress { edge: row.edge, rule: row.rule };
        match ask(&args.server, &rule, Some(&row.target.target), body).await {
            Ok(one) => answer.targets.push(one),
            Err(failure @ Failure::Problem(_)) => answer.failed.push(FailedTarget {
                rule: rule.rule,
                target: row.target.target,
                message: failure.to_string(),
            }),
            Err(failure) => return Err(failure),
        }
    }
    if answer.targets.is_empty() && answer.failed.is_empty() {
        let which =
            args.target.as_ref().map_or_else(|| "no targets".to_owned(), |target| format!("no target {target}"));
        return Err(Failure::Other(format!("edge {edge} has {which}; see `portunus targets --edge {edge}`")));
    }
    if !print_value(args.looks.output, &answer)? {
        let failed = |one: &FailedTarget| {
            format!("{edge}/{} {}: {}\n", one.rule, clean(&one.target), style::error(clean(&one.message)))
        };
        let lines = answer.targets.iter().map(line).chain(answer.failed.iter().map(failed));
        print(&lines.collect::<String>())?;
    }
    Ok(if answer.failed.is_empty() { Exit::Done } else { Exit::Partial })
}

/// The message begins with the target where an override is in force.
fn line(answer: &TargetAnswer) -> String {
    let target = if answer.overrides.is_empty() { format!("{}: ", clean(&answer.target)) } else { String::new() };
    format!("{}/{} {target}{}\n", answer.edge, answer.rule, clean(&answer.message))
}

async fn check(args: &TargetCheckArgs) -> Result<Exit, Failure> {
    let rule = match &args.place {
        Some(Selector::Rule(rule)) => rule,
        Some(Selector::Edge(_)) if args.target.is_some() => {
            return Err(Failure::Usage("a round of one target needs its rule, as EDGE/RULE".to_owned()));
        }
        Some(Selector::Edge(edge)) => return check_all::run(args, Some(edge)).await,
        None => return check_all::run(args, None).await,
    };
    let body = TargetBody { why: args.why.clone(), ..body("check") };
    let answer: CheckDocument = ask(&args.server, rule, args.target.as_deref(), &body).await?;
    if !print_value(args.looks.output, &answer)? {
        print(&targets::table(&answer.targets, Timestamp::now()))?;
    }
    let is_down = answer.targets.iter().any(|target| target.state == TargetState::Down);
    Ok(if is_down { Exit::Partial } else { Exit::Done })
}

async fn ask<T: serde::de::DeserializeOwned>(
    server: &ServerArgs,
    rule: &RuleAddress,
    target: Option<&str>,
    body: &TargetBody,
) -> Result<T, Failure> {
    let target = target.map(|target| format!("/{}", in_path(target))).unwrap_or_default();
    Client::new(server)?.post(&format!("/v1/targets/{}/{}{target}", rule.edge, rule.rule), body).await
}

/// Whatever a person writes stays one segment of the path.
fn in_path(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._:".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    // A segment of dots alone would be taken for the folder above.
    let is_dots = text.bytes().all(|byte| byte == b'.');
    if is_dots { text.replace('.', "%252E") } else { text.bytes().map(one).collect() }
}

#[cfg(test)]
mod tests {
    use super::in_path;

    #[test]
    fn a_target_is_one_segment_whatever_it_holds() {
        assert_eq!(in_path("upstream.local:80-89"), "upstream.local:80-89");
        assert_eq!(in_path("[::1]:80"), "%5B::1%5D:80");
        assert_eq!(in_path("a/../b?c#d%"), "a%2F..%2Fb%3Fc%23d%25");
        assert_eq!(in_path(".."), "%252E%252E");
    }
}
