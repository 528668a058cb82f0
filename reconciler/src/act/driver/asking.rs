//! What the handle of the fleet asks edges about their rules, and how long it waits. I/O by channels only.
//!
//! Keeps: an edge that does not answer holds nobody up for longer than [`counters::ANSWER_TIMEOUT`].

use schema::name::{EdgeName, RuleName};
use schema::proto;
use tokio::sync::oneshot;

use super::{Command, FleetHandle, Stopped};
use crate::act::counters::{self, CountersError};
use crate::act::operator::documents::StatsDocument;

impl FleetHandle {
    /// Asks an edge for the counters of a rule, now.
    pub async fn stats(
        &self,
        edge: EdgeName,
        rule: &RuleName,
        per_port: bool,
        per_target: bool,
    ) -> Result<Result<StatsDocument, CountersError>, Stopped> {
        let request =
            proto::StatsRequest { rule: rule.to_string(), per_port, per_target, ..proto::StatsRequest::default() };
        self.ask(edge, request).await
    }

    /// The same with the ages of its live connections, and nothing by port or target.
    pub async fn load(&self, edge: EdgeName, rule: &RuleName) -> Result<Result<StatsDocument, CountersError>, Stopped> {
        let request = proto::StatsRequest { rule: rule.to_string(), ages: true, ..proto::StatsRequest::default() };
        self.ask(edge, request).await
    }

    async fn ask(
        &self,
        edge: EdgeName,
        request: proto::StatsRequest,
    ) -> Result<Result<StatsDocument, CountersError>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Ask { edge, request, reply }).await?;
        match tokio::time::timeout(counters::ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer.map_err(|_| Stopped),
            Err(_) => Ok(Err(CountersError::Timeout)),
        }
    }
}
