//! The road of a bisection: to one revision after the other, each by a rollback, and back to where it began. I/O.
//!
//! Keeps: nothing is put in force that somebody else did not leave there: what git or another operator brought
//! meanwhile stays.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use reconciler::act::operator::documents::{Problem, RollbackBody};
use reconciler::decide::codes::ProblemCode;
use reconciler::decide::fleet::{ApplyResult, Outcome};
use reconciler::decide::plan::{Allowances, PlanDocument};
use reconciler::decide::status::StatusDocument;
use schema::canonical::Digest;
use schema::codes::RuleCode;
use tokio::time::sleep;

use crate::cli::WaitArgs;
use crate::client::Client;
use crate::cmd::apply::{follow, patience, refuse_early};
use crate::failure::Failure;

const PATH: &str = "/v1/rollback";
/// How often a step is planned anew because the fleet moved in between.
const ATTEMPTS: u32 = 5;
/// Between two looks at what only time changes.
const AGAIN: Duration = Duration::from_millis(250);
/// The lock of a step that was interrupted lapses after 20 s; twice that is waited for it.
const LOCKED: u32 = 160;
/// A server that notices that nobody waits for its answer any more does not begin: 2 s for that.
const UNANSWERED: u32 = 8;

/// What came of going to a revision.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It is in force on every edge.
    There,
    /// It cannot be tried, for this reason; a rail says with which flag it could.
    Not { reason: String, is_rail: bool },
}

/// What became of the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// What was in force at the beginning is again.
    Back,
    /// It is, but not on every edge.
    Partial,
    /// Something else was put in force meanwhile, and stays.
    Overtaken,
}

/// A road through revisions.
pub(super) struct Road<'a> {
    pub(super) client: &'a Client,
    pub(super) wait: &'a WaitArgs,
    /// Whom the search is for.
    pub(super) applied_by: Option<String>,
    pub(super) allowances: Allowances,
    /// What was in force at the beginning.
    pub(super) origin: Digest,
    /// Why that was held, if it was.
    pub(super) held: Option<String>,
    /// All that the road may have put in force.
    pub(super) visited: BTreeSet<Digest>,
    /// True while the server has a step and has not answered: interrupted, it may still begin.
    pub(super) asked: Cell<bool>,
}

impl Road<'_> {
    fn body(&self, digest: Digest, why: String, allowances: Allowances) -> RollbackBody {
        RollbackBody {
            revision: digest.to_string(),
            why,
            applied_by: self.applied_by.clone(),
            allowances,
            timeout_secs: Some(self.wait.timeout.as_secs()),
            allow_offline: self.wait.allow_offline,
            ..RollbackBody::default()
        }
    }

    async fn plan(&self, body: &RollbackBody) -> Result<PlanDocument, Failure> {
        self.client.post(PATH, &RollbackBody { dry_run: true, ..body.clone() }).await
    }

    async fn apply(&self, body: &RollbackBody, plan: PlanDocument) -> Result<ApplyResult, Failure> {
        let body = RollbackBody { plan: Some(plan), ..body.clone() };
        self.asked.set(true);
        let answer: Result<ApplyResult, Failure> = self.client.post(PATH, &body).await;
        self.asked.set(false);
        let begun = answer?;
        let wait = patience(&begun, self.wait.timeout);
        follow(self.client, begun, wait).await
    }

    /// Puts a revision in force and waits for the edges.
    pub(super) async fn to(&mut self, digest: Digest, why: String) -> Result<Arrival, Failure> {
        let body = self.body(digest, why, self.allowances);
        for _ in 1..ATTEMPTS {
            match self.attempt(digest, &body).await {
                Err(Failure::Problem(problem)) if problem.code == ProblemCode::Stale => {}
                Err(Failure::Problem(problem)) => return untried(*problem),
                other => return other,
            }
        }
        self.attempt(digest, &body).await
    }

    async fn attempt(&mut self, digest: Digest, body: &RollbackBody) -> Result<Arrival, Failure> {
        let plan = self.plan(body).await?;
        refuse_early(&plan)?;
        self.visited.insert(digest);
        let result = self.apply(body, plan).await?;
        Ok(match result.outcome {
            Outcome::Applied => Arrival::There,
            outcome => {
                let edges: Vec<&str> = result.edges.iter().map(|edge| edge.edge.as_str()).collect();
                let reason = format!("it is only partly in force ({}), on {}", outcome.as_str(), edges.join(", "));
                Arrival::Not { reason, is_rail: false }
            }
        })
    }

    /// True if that revision is in force now.
    pub(super) async fn is_at(&self, digest: Digest) -> Result<bool, Failure> {
        let status: StatusDocument = self.client.get("/v1/status").await?;
        Ok(status.revision.digest == Some(digest))
    }

    /// Puts back what was in force at the beginning. What its plan takes away is what was not there then, so its rails
    /// are answered with just those numbers.
    pub(super) async fn back(&self) -> Result<Return, Failure> {
        for _ in 0..UNANSWERED {
            if !self.asked.get() || !self.is_at(self.origin).await? {
                break;
            }
            sleep(AGAIN).await;
        }
        let why = self.held.clone().unwrap_or_else(|| {
            "bisect: restoring the revision that was in force at the \
            beginning"
                .to_owned()
        });
        let body = RollbackBody { no_hold: self.held.is_none(), ..self.body(self.origin, why, Allowances::default()) };
        let (mut moved, mut locked) = (0, 0);
        loop {
            let status: StatusDocument = self.client.get("/v1/status").await?;
            let in_force = status.revision.digest;
            if in_force == Some(self.origin) && status.revision.hold.is_some() == self.held.is_some() {
                return Ok(Return::Back);
            }
            if in_force != Some(self.origin) && !in_force.is_some_and(|digest| self.visited.contains(&digest)) {
                return Ok(Return::Overtaken);
            }
            let plan = self.plan(&body).await?;
            let body = RollbackBody { allowances: just_enough(&plan), ..body.clone() };
            let plan = self.plan(&body).await?;
            match self.apply(&body, plan).await {
                // The fleet moved, or another connection came, since it was planned.
                Err(Failure::Problem(problem))
                    if matches!(ProblemCode::parse(&problem.code), Some(ProblemCode::Stale | ProblemCode::Rails))
                        && moved < ATTEMPTS =>
                {
                    moved += 1;
                }
                Err(Failure::Problem(problem)) if problem.code == ProblemCode::Locked && locked < LOCKED => {
                    locked += 1;
                    sleep(AGAIN).await;
                }
                Err(failure) => return Err(failure),
                Ok(result) if result.outcome == Outcome::Applied => return Ok(Return::Back),
                Ok(_) => return Ok(Return::Partial),
            }
        }
    }
}

/// What a plan needs and no more, from the flags that its rails name.
fn just_enough(plan: &PlanDocument) -> Allowances {
    let number = |flag: &str| {
        let mut named =
            plan.rails.iter().filter_map(|rail| rail.allow.as_deref()?.strip_prefix(flag)?.trim().parse().ok());
        named.next()
    };
    Allowances {
        removals: number("--allow-removals"),
        rebinds: number("--allow-rebinds"),
        drops: number("--allow-drops"),
        ..Allowances::default()
    }
}

/// A refusal that says something about the revision alone.
fn untried(problem: Problem) -> Result<Arrival, Failure> {
    let code = ProblemCode::parse(&problem.code);
    let is_rail = code == Some(ProblemCode::Rails);
    let is_of_revision = matches!(code, Some(ProblemCode::RevisionGone | ProblemCode::InvalidTree))
        || RuleCode::parse(&problem.code).is_some();
    if !is_rail && !is_of_revision {
        return Err(Failure::Problem(Box::new(problem)));
    }
    let flags: Vec<&str> = problem.rails.iter().filter_map(|rail| rail.allow.as_deref()).collect();
    let allowed = if flags.is_empty() { String::new() } else { format!(" (allowed with {})", flags.join(" ")) };
    Ok(Arrival::Not { reason: format!("{}{allowed}", problem.detail), is_rail })
}
