//! The one place that turns what went wrong into a sentence, a JSON object and an exit code.
//!
//! Keeps: the exit codes of the contract; an error is said in words on standard error, and with `-o json` also as
//! one object on standard output.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use reconciler::act::operator::documents::Problem;
use reconciler::decide::codes::ProblemCode;
use reconciler::decide::plan::RailVerdict;
use schema::codes::RuleCode;
use schema::diagnostic::{Diagnostic, DiagnosticJson, SourceFile, all_to_json};
use serde::Serialize;

use crate::address::ServerUrl;
use crate::cli::{Format, without_passwords};
use crate::output::{clean, print_value, say};
use crate::render::{diagnostic, rails, style};

/// The exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, nothing to do, in sync.
    Done,
    /// An invalid tree, I/O, anything unexpected.
    Error,
    /// Only on request: there are changes, or drift.
    Changes,
    /// Nothing was sent: a rail, or another tree is followed.
    Refused,
    /// The plan does not hold any more.
    Stale,
    /// Not everything came about.
    Partial,
    /// Somebody else is at work.
    Locked,
    /// The server cannot be reached.
    Unreachable,
    /// The command line is wrong.
    Usage,
    /// The person ended it.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Changes => 2,
            Self::Refused => 3,
            Self::Stale => 4,
            Self::Partial => 5,
            Self::Locked => 6,
            Self::Unreachable => 7,
            Self::Usage => 64,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong in a way that only the command itself can see.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("{} cannot be {verb}: {source}", path.display())]
    File {
        path: PathBuf,
        /// `read` or `written`
        verb: &'static str,
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("the result cannot be written: {0}")]
    Output(io::Error),
    /// The tree has errors, found here.
    #[error("the tree has errors")]
    InvalidTree(Vec<Diagnostic>),
    /// The tree has errors, found by the server.
    #[error("the tree has errors")]
    InvalidTreeThere(Vec<DiagnosticJson>, Vec<SourceFile>),
    /// The tree changed with every attempt to read it.
    #[error("the rule tree {} changes while it is read: try again when no program writes to it", .0.display())]
    Moving(PathBuf),
    /// The server refused.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The server is not there.
    #[error("the server at {server} cannot be reached: {reason}")]
    Unreachable { server: ServerUrl, reason: String },
    /// Nothing was sent, for the server is not the one that is meant.
    #[error("nothing was sent to {server}: {reason}")]
    Untrusted { server: ServerUrl, reason: String },
    /// Another port of a server answers there.
    #[error("{server}: {reason}")]
    WrongPort { server: ServerUrl, reason: String },
    /// Something answers there, and it is not a server of ours.
    #[error("{server} does not answer like a portunus server: {reason}")]
    Foreign { server: ServerUrl, reason: String },
    /// A plan file cannot be used any more.
    #[error("{}: {reason}", path.display())]
    Stale { path: PathBuf, reason: String },
    /// The server restarted while it applied: what was decided goes on, its outcome was never written down.
    #[error(
        "the server restarted during the apply {0}; everything that it decided is in force and continues; `portunus \
         status` shows it"
    )]
    CutOff(String),
    /// The person ended it.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// Anything else: a sentence says it.
    #[error("{0}")]
    Other(String),
}

/// A failure as `-o json` prints it.
#[derive(Serialize)]
struct ErrorDocument {
    format_version: &'static str,
    kind: &'static str,
    code: String,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostics: Vec<DiagnosticJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rails: Vec<RailVerdict>,
}

impl Failure {
    /// For a file that cannot be read.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), verb: "read", source }
    }

    /// For a file that cannot be written.
    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), verb: "written", source }
    }

    /// Its exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Stale { .. } => Exit::Stale,
            Self::CutOff(_) => Exit::Partial,
            Self::Unreachable { .. } | Self::WrongPort { .. } => Exit::Unreachable,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Problem(problem) => exit_of(problem),
            Self::File { .. }
            | Self::Output(_)
            | Self::InvalidTree(_)
            | Self::InvalidTreeThere(..)
            | Self::Moving(_)
            | Self::Untrusted { .. }
            | Self::Foreign { .. }
            | Self::Other(_) => Exit::Error,
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::Usage(_) => "usage",
            Self::File { .. } | Self::Output(_) => "io",
            Self::InvalidTree(_) | Self::InvalidTreeThere(..) => ProblemCode::InvalidTree.as_str(),
            Self::Moving(_) => "moving_tree",
            Self::Problem(problem) => &problem.code,
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted_server",
            Self::WrongPort { .. } => "wrong_port",
            Self::Foreign { .. } => "foreign_server",
            Self::Stale { .. } => ProblemCode::Stale.as_str(),
            Self::CutOff(_) => "cut_off",
            Self::Interrupted(_) => "interrupted",
            Self::Other(_) => "error",
        }
    }

    /// Says it, and gives the exit code.
    pub(crate) fn report(&self, format: Format) -> Exit {
        if format != Format::Text
            && let Err(Self::Output(error)) = print_value(format, &self.document())
        {
            say(format!("{}: {error}", style::error("error")));
        }
        match self {
            Self::InvalidTree(diagnostics) => say(diagnostic::all(diagnostics)),
            Self::InvalidTreeThere(diagnostics, files) => say(diagnostic::all_from_json(diagnostics, files)),
            other => {
                say(format!("{}: {}", style::error("error"), clean(&without_passwords(&other.to_string()))));
                if let Self::Problem(problem) = self {
                    problem.rails.iter().filter(|rail| rail.tripped).for_each(|rail| say(rails::line(rail)));
                }
                if let Some(hint) = other.hint() {
                    say(format!("{}: {hint}", style::help("help")));
                }
            }
        }
        self.exit()
    }

    fn document(&self) -> ErrorDocument {
        let (diagnostics, rails) = match self {
            Self::InvalidTree(diagnostics) => (all_to_json(diagnostics), Vec::new()),
            Self::InvalidTreeThere(diagnostics, _) => (diagnostics.clone(), Vec::new()),
            Self::Problem(problem) => (problem.diagnostics.clone(), problem.rails.clone()),
            _ => (Vec::new(), Vec::new()),
        };
        ErrorDocument {
            format_version: reconciler::decide::plan::FORMAT_VERSION,
            kind: "error",
            code: self.code().to_owned(),
            message: without_passwords(&self.to_string()),
            diagnostics,
            rails,
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => "start it with `portunus serve` or `portunus up DIR`, or name it with --server",
            Self::Untrusted { .. } => {
                "compare the pin with the output of `portunus ca show` on the server's host; after `portunus ca retire`, \
                 sign in again with `portunus login URL --pin sha256:…`; without a pin, the certificate must be \
                 one that this system trusts"
            }
            Self::Stale { .. } => "plan again; a plan file can be applied once, unchanged, within 24 h",
            Self::Problem(problem) => match ProblemCode::parse(&problem.code) {
                Some(ProblemCode::Unauthorized) => {
                    "sign in with `portunus login`, pass the token with --token @FILE or PORTUNUS_OPERATOR_TOKEN, or set \
                     PORTUNUS_STATE_DIR to the server's state directory"
                }
                Some(ProblemCode::Forbidden) => {
                    "ask an admin for an operator with that role; `portunus operator list` shows them"
                }
                Some(ProblemCode::OutsideGrant) => {
                    "leave these changes out, or ask an operator whose limits include them"
                }
                Some(ProblemCode::Stale) => "plan again",
                Some(ProblemCode::Dirty) => "commit the changes, or use --allow-dirty",
                Some(ProblemCode::NoCommit) => "commit the tree to a git repository, or use --allow-dirty",
                Some(ProblemCode::NotFollowed) => {
                    "change the tree that the server follows, or run the server with `--mode plan` or `--mode heal`"
                }
                Some(ProblemCode::Rails) => {
                    "review `portunus plan`; if the change is intended, apply with the flag in the message"
                }
                Some(ProblemCode::Locked) => "wait until it ends; `portunus status` shows its progress",
                Some(ProblemCode::Frozen) => "`portunus status` shows the freeze, `portunus unfreeze` lifts it",
                _ => return RuleCode::parse(&problem.code).map(|code| code.doc().remedy.to_owned()),
            },
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn exit_of(problem: &Problem) -> Exit {
    use ProblemCode::{BadRequest, Dirty, Frozen, Locked, NoCommit, NotFollowed, Rails, Stale, Stopping};
    match ProblemCode::parse(&problem.code) {
        Some(Stale) => Exit::Stale,
        Some(Rails | Dirty | NoCommit | NotFollowed) => Exit::Refused,
        Some(Locked | Frozen) => Exit::Locked,
        Some(Stopping) => Exit::Unreachable,
        // What the command line says in words of its own, such as `--state wat`, as clap's own refusals.
        Some(BadRequest) if problem.status == 400 => Exit::Usage,
        _ if problem.status == 422 && RuleCode::parse(&problem.code).is_some() => Exit::Partial,
        _ => Exit::Error,
    }
}

#[cfg(test)]
mod tests {
    use reconciler::decide::glossary;

    use super::*;

    #[test]
    fn every_exit_code_is_explained() {
        let all = [
            Exit::Done,
            Exit::Error,
            Exit::Changes,
            Exit::Refused,
            Exit::Stale,
            Exit::Partial,
            Exit::Locked,
            Exit::Unreachable,
            Exit::Usage,
            Exit::Interrupted,
        ];
        for exit in all {
            assert!(glossary::explain(&exit.code().to_string()).next().is_some(), "{exit:?}");
        }
        let failures = [Failure::Usage(String::new()), Failure::CutOff(String::new()), Failure::Other(String::new())];
        for failure in failures {
            assert!(glossary::explain(failure.code()).next().is_some(), "{}", failure.code());
        }
    }

    #[test]
    fn every_problem_of_the_api_has_the_exit_code_of_the_contract() {
        let exit = |status, code| Failure::Problem(Box::new(Problem::new(status, code, "", ""))).exit().code();
        let expected = [
            (409, "stale", 4),
            (400, "bad_request", 64),
            (409, "not_followed", 3),
            (409, "rails", 3),
            (409, "dirty", 3),
            (409, "no_commit", 3),
            (423, "locked", 6),
            (423, "frozen", 6),
            (404, "unknown_revision", 1),
            (409, "ambiguous_revision", 1),
            (410, "revision_gone", 1),
            (409, "ambiguous_port", 1),
            (409, "override_rule", 1),
            (409, "before_ledger", 1),
            (422, "invalid_tree", 1),
            (422, "privileged_port", 5),
            (503, "client_not_connected", 1),
            (503, "stopping", 7),
            (401, "unauthorized", 1),
            (403, "forbidden", 1),
            (404, "not_found", 1),
            (500, "internal", 1),
        ];
        for (status, code, number) in expected {
            assert_eq!(exit(status, code), number, "{code}");
        }
    }
}
