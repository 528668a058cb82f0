//! The arguments of `operator` and `audit`. Pure.

use std::time::Duration;

use clap::{Args, Subcommand};
use reconciler::decide::operators::{Claim, Role};
use schema::name::OperatorName;

use super::common::{ListArgs, ListLooks, Looks, Printing, ServerArgs};
use crate::duration;

/// The commands below `operator`.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Create an operator and print its token, which is shown only once
    Create(OperatorCreateArgs),
    /// List the operators with their roles and limits
    List(ListArgs),
    /// Revoke an operator: its token is refused from now on, and its open streams end
    Revoke(OperatorRevokeArgs),
}

impl OperatorCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match self {
            Self::Create(args) => args.looks.printing(),
            Self::List(args) => args.looks.printing(),
            Self::Revoke(args) => args.looks.printing(),
        }
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected viewer, planner, applier or admin".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct OperatorCreateArgs {
    /// The name of the operator, which the history and the audit show
    #[arg(value_name = "NAME", value_parser = |text: &str| OperatorName::new(text))]
    pub(crate) name: OperatorName,
    /// What the operator may do: viewer reads; planner also plans; applier also applies, rolls back, freezes, overrides
    /// and steers targets; admin also manages operators and edges and reads the audit
    #[arg(long, value_name = "ROLE", env = "PORTUNUS_OPERATOR_ROLE", value_parser = role)]
    pub(crate) role: Role,
    /// Limit the operator to these edges; may be given several times
    #[arg(long, value_name = "GLOB", env = "PORTUNUS_OPERATOR_EDGES", value_delimiter = ',')]
    pub(crate) edges: Vec<String>,
    /// Limit the operator to rules that listen on these ports; may be given several times
    #[arg(long, value_name = "LO-HI", env = "PORTUNUS_OPERATOR_PORTS", value_delimiter = ',')]
    pub(crate) ports: Vec<String>,
    /// Limit the operator to rules of these owners; may be given several times
    #[arg(long, value_name = "NAME", env = "PORTUNUS_OPERATOR_OWNER")]
    pub(crate) owner: Vec<String>,
    /// Let CI jobs act as this operator by their identity tokens (OIDC), without a stored secret: the issuer of the tokens,
    /// such as `https://token.actions.githubusercontent.com`
    #[arg(
        long,
        value_name = "URL",
        env = "PORTUNUS_OPERATOR_OIDC_ISSUER",
        requires = "oidc_audience",
        requires = "oidc_claim"
    )]
    pub(crate) oidc_issuer: Option<String>,
    /// The audience that the identity tokens must have
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_OPERATOR_OIDC_AUDIENCE", requires = "oidc_issuer")]
    pub(crate) oidc_audience: Option<String>,
    /// A claim that the identity tokens must have, such as repository=team/rules; `*` stands for any characters, `/` among
    /// them; may be given several times, and all of them must fit
    #[arg(
        long,
        value_name = "KEY=GLOB",
        env = "PORTUNUS_OPERATOR_OIDC_CLAIM",
        requires = "oidc_issuer",
        value_parser = Claim::parse
    )]
    pub(crate) oidc_claim: Vec<Claim>,
    /// How long the token is valid [default: until the operator is revoked]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_OPERATOR_TTL", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OperatorRevokeArgs {
    /// The operator
    #[arg(value_name = "NAME", value_parser = |text: &str| OperatorName::new(text))]
    pub(crate) name: OperatorName,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only entries since then: how long ago, such as 12h or 2d, or a time
    #[arg(long, value_name = "TIME", env = "PORTUNUS_SINCE")]
    pub(crate) since: Option<String>,
    /// At most so many entries, the newest ones
    #[arg(long, value_name = "N", env = "PORTUNUS_LIMIT")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
