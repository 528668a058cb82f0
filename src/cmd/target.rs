//! `target pause/resume/disable/enable/weight/check`: what operators do to a target at runtime. I/O.
//!
//! Exit codes: 0 also where nothing had to change; `check` exits 5 where a target of the round is down.

use jiff::Timestamp;
use reconciler::act::operator::documents::{CheckDocument, TargetBody, TargetsAnswer};
use reconciler::decide::fleet::TargetAnswer;
use schema::health::TargetState;
use schema::name::RuleAddress;

use super::check_all;
use crate::cli::{ServerArgs, TargetArgs, TargetCheckArgs, TargetCommand, TargetSetArgs, TargetWeightArgs, TermsArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value};
use crate::render::targets;

pub(crate) async fn run(command: &TargetCommand) -> Result<Exit, Failure> {
    match command {
        TargetCommand::Pause(args) => set(args, "pause").await,
        TargetCommand::Resume(args) => order(args, &body("resume")).await,
        TargetCommand::Disable(args) => set(args, "disable").await,
        TargetCommand::Enable(args) => order(args, &body("enable")).await,
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

async fn weigh(args: &TargetWeightArgs) -> Result<Exit, Failure> {
    let body = TargetBody { weight: Some(args.weight), ..with_terms("weight", &args.terms) };
    let answer: TargetAnswer = ask(&args.server, &args.rule, Some(&args.target), &body).await?;
    if !print_value(args.looks.output, &answer)? {
        print(&line(&answer))?;
    }
    Ok(Exit::Done)
}

async fn order(args: &TargetArgs, body: &TargetBody) -> Result<Exit, Failure> {
    let (text, is_printed) = if args.target.is_some() {
        let answer: TargetAnswer = ask(&args.server, &args.rule, args.target.as_deref(), body).await?;
        (line(&answer), print_value(args.looks.output, &answer)?)
    } else {
        let answer: TargetsAnswer = ask(&args.server, &args.rule, None, body).await?;
        (answer.targets.iter().map(line).collect(), print_value(args.looks.output, &answer)?)
    };
    if !is_printed {
        print(&text)?;
    }
    Ok(Exit::Done)
}

/// The message begins with the target where an override is in force.
fn line(answer: &TargetAnswer) -> String {
    let target = if answer.overrides.is_empty() { format!("{}: ", clean(&answer.target)) } else { String::new() };
    format!("{}/{} {target}{}\n", answer.edge, answer.rule, clean(&answer.message))
}

async fn check(args: &TargetCheckArgs) -> Result<Exit, Failure> {
    let Some(rule) = &args.rule else { return check_all::run(&args.server, &args.looks).await };
    let answer: CheckDocument = ask(&args.server, rule, args.target.as_deref(), &body("check")).await?;
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
