//! Every route of the operator API with the rights that it needs. Pure.
//!
//! Keeps: a route exists only as a variant of [`Route`], and a variant does not compile without its row: the router, the
//! decision [`may`](super::may()) and the reference page all follow from this table.

use super::Role;

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Does or asks something.
    Post,
    /// Ends something.
    Delete,
}

impl Method {
    /// As in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// Whether a request is written to the audit where it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audited {
    /// It changes nothing.
    No,
    /// It could change something.
    Yes,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Operators with this role, or a stronger one.
    Role {
        /// The weakest role.
        least: Role,
        /// The weakest role for a request that is only to be planned; the same where a request cannot be.
        dry_run: Role,
        /// True if it concerns the whole fleet, so that the operator must have no limits.
        unlimited: bool,
    },
    /// Callers that prove to know a secret of their own; no operator.
    Signed,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRow {
    /// The method.
    pub method: Method,
    /// The path, with names in braces.
    pub path: &'static str,
    /// Who may use it.
    pub rights: Rights,
    /// Whether it is audited.
    pub audited: Audited,
}

const fn reads(path: &'static str) -> RouteRow {
    RouteRow { method: Method::Get, path, rights: of(Role::Viewer), audited: Audited::No }
}

const fn of(least: Role) -> Rights {
    Rights::Role { least, dry_run: least, unlimited: false }
}

const fn of_the_fleet(least: Role) -> Rights {
    Rights::Role { least, dry_run: least, unlimited: true }
}

const fn plans(path: &'static str) -> RouteRow {
    RouteRow { method: Method::Post, path, rights: of(Role::Planner), audited: Audited::No }
}

const fn changes(method: Method, path: &'static str, rights: Rights) -> RouteRow {
    RouteRow { method, path, rights, audited: Audited::Yes }
}

macro_rules! routes {
    ($($(#[$meta:meta])* $route:ident => $row:expr,)*) => {
        /// A route of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Route {
            $($(#[$meta])* $route,)*
        }

        impl Route {
            /// Every route, in the order of the reference page.
            pub const ALL: &[Self] = &[$(Self::$route,)*];

            /// Its row.
            pub const fn row(self) -> RouteRow {
                match self {
                    $(Self::$route => $row,)*
                }
            }
        }
    };
}

use Method::{Delete, Get, Post};

routes! {
    /// Checks a tree.
    Validate => plans("/v1/validate"),
    /// Plans a tree.
    Plan => plans("/v1/plan"),
    /// Plans the followed tree, or a revision of the history.
    PlanOfRevision => reads("/v1/plan"),
    /// Applies a tree.
    Apply => changes(Post, "/v1/apply", of(Role::Applier)),
    /// How an apply stands.
    ApplyState => reads("/v1/applies/{id}"),
    /// The same as a stream.
    ApplyEvents => reads("/v1/applies/{id}/events"),
    /// Keeps the lock of an apply. Not audited: the apply is.
    Heartbeat => RouteRow {
        method: Post,
        path: "/v1/applies/{id}/heartbeat",
        rights: of(Role::Applier),
        audited: Audited::No,
    },
    /// Applies a recorded revision again.
    Rollback => changes(
        Post,
        "/v1/rollback",
        Rights::Role { least: Role::Applier, dry_run: Role::Planner, unlimited: false },
    ),
    /// Ends the hold of a rollback.
    Resume => changes(Post, "/v1/resume", of(Role::Applier)),
    /// Stops applying.
    Freeze => changes(Post, "/v1/freeze", of_the_fleet(Role::Applier)),
    /// Allows applying again.
    Unfreeze => changes(Delete, "/v1/freeze", of_the_fleet(Role::Applier)),
    /// Everything.
    Status => reads("/v1/status"),
    /// The same in a few figures.
    Summary => reads("/v1/summary"),
    /// What is in force.
    Revision => reads("/v1/revision"),
    /// All edges.
    Edges => reads("/v1/edges"),
    /// Forgets an edge.
    ForgetEdge => changes(Delete, "/v1/edges/{edge}", of_the_fleet(Role::Admin)),
    /// Revokes an edge.
    RevokeEdge => changes(Post, "/v1/edges/{edge}/revoke", of_the_fleet(Role::Admin)),
    /// Invites an edge.
    InviteEdge => changes(Post, "/v1/edge-tokens", of_the_fleet(Role::Admin)),
    /// The certificate authorities that are trusted.
    Authority => reads("/v1/ca"),
    /// Makes the next certificate authority.
    RotateAuthority => changes(Post, "/v1/ca/rotate", of_the_fleet(Role::Admin)),
    /// Ends the previous certificate authority.
    RetireAuthority => changes(Post, "/v1/ca/retire", of_the_fleet(Role::Admin)),
    /// All rules.
    Rules => reads("/v1/rules"),
    /// One rule.
    Rule => reads("/v1/rules/{edge}/{rule}"),
    /// Its text in the tree.
    RuleSource => RouteRow {
        method: Get,
        path: "/v1/rules/{edge}/{rule}/source",
        rights: of(Role::Planner),
        audited: Audited::No,
    },
    /// A changed rule as a diff with its plan.
    Propose => plans("/v1/proposals"),
    /// Its counters.
    RuleStats => reads("/v1/rules/{edge}/{rule}/stats"),
    /// The same as a stream.
    RuleStatsStream => reads("/v1/rules/{edge}/{rule}/stats/stream"),
    /// The counters of all rules.
    Stats => reads("/v1/stats"),
    /// All targets.
    Targets => reads("/v1/targets"),
    /// Probes all targets of a rule.
    CheckTargets => changes(Post, "/v1/targets/{edge}/{rule}", of(Role::Applier)),
    /// Steers or probes a target.
    SteerTarget => changes(Post, "/v1/targets/{edge}/{rule}/{target}", of(Role::Applier)),
    /// Ends every override of a target.
    ReleaseTarget => changes(Delete, "/v1/targets/{edge}/{rule}/{target}", of(Role::Applier)),
    /// The live connections.
    Connections => reads("/v1/connections"),
    /// Ends live connections.
    EndConnections => changes(Delete, "/v1/connections", of(Role::Applier)),
    /// All quotas.
    Quotas => reads("/v1/quotas"),
    /// Begins the period of a rule's quota anew.
    ResetQuota => changes(Post, "/v1/quotas/{edge}/{rule}/reset", of(Role::Applier)),
    /// Begins the period of an owner's quota anew.
    ResetOwnerQuota => changes(Post, "/v1/quotas/{edge}/owners/{owner}/reset", of(Role::Applier)),
    /// What would happen to a connection.
    Trace => reads("/v1/trace"),
    /// Rules that nobody uses.
    Unused => reads("/v1/unused"),
    /// What happens.
    Events => reads("/v1/events"),
    /// The ledger.
    History => reads("/v1/history"),
    /// One entry.
    HistoryEntry => reads("/v1/history/{id}"),
    /// Whether the ledger is whole.
    Verification => reads("/v1/history/verification"),
    /// The whole state, with its keys. Audited: anyone who has it can pose as this server.
    Backup => changes(Get, "/v1/backup", of_the_fleet(Role::Admin)),
    /// Who put a port on an edge.
    Blame => reads("/v1/blame/{edge}/{port}"),
    /// What runs in another way than it was applied.
    Drift => reads("/v1/drift"),
    /// The overrides.
    Overrides => reads("/v1/overrides"),
    /// Adds a break-glass rule.
    AddOverride => changes(Post, "/v1/overrides", of(Role::Applier)),
    /// Ends one.
    RemoveOverride => changes(Delete, "/v1/overrides/{edge}/{rule}", of(Role::Applier)),
    /// The operators.
    Operators => RouteRow {
        method: Get,
        path: "/v1/operators",
        rights: of_the_fleet(Role::Admin),
        audited: Audited::No,
    },
    /// Creates an operator.
    CreateOperator => changes(Post, "/v1/operators", of_the_fleet(Role::Admin)),
    /// Ends one.
    RevokeOperator => changes(Delete, "/v1/operators/{name}", of_the_fleet(Role::Admin)),
    /// Who asks, with role and limits.
    WhoAmI => reads("/v1/operators/me"),
    /// The audit.
    Audit => RouteRow { method: Get, path: "/v1/audit", rights: of_the_fleet(Role::Admin), audited: Audited::No },
    /// The notifiers, with what waits for them.
    Notifiers => reads("/v1/notify"),
    /// Sends a test to a notifier.
    TestNotifier => changes(Post, "/v1/notify/{name}/test", of_the_fleet(Role::Applier)),
    /// Wakes the follower of the repository.
    GitWebhook => RouteRow {
        method: Post,
        path: "/v1/webhooks/git",
        rights: Rights::Signed,
        audited: Audited::No,
    },
}

impl Route {
    /// The route of a request, by the path as the router matched it.
    pub fn find(method: &str, path: &str) -> Option<Self> {
        // A question for the head alone is answered as the whole is.
        let method = if method == "HEAD" { Get.as_str() } else { method };
        Self::ALL.iter().copied().find(|route| {
            let row = route.row();
            row.path == path && row.method.as_str() == method
        })
    }

    /// The weakest role that may use it; `None` where no operator does.
    pub const fn least(self, is_dry_run: bool) -> Option<Role> {
        match self.row().rights {
            Rights::Role { dry_run, .. } if is_dry_run => Some(dry_run),
            Rights::Role { least, .. } => Some(least),
            Rights::Signed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_routes_have_the_same_method_and_path() {
        let all: BTreeSet<_> = Route::ALL.iter().map(|route| (route.row().method, route.row().path)).collect();
        assert_eq!(all.len(), Route::ALL.len());
        for route in Route::ALL {
            let row = route.row();
            assert_eq!(Route::find(row.method.as_str(), row.path), Some(*route));
        }
        assert_eq!(Route::find("HEAD", "/v1/status"), Some(Route::Status));
        assert_eq!(Route::find("PUT", "/v1/status"), None);
    }

    #[test]
    fn whatever_is_no_reading_needs_more_than_a_viewer() {
        for route in Route::ALL {
            let row = route.row();
            let Some(least) = route.least(true) else { continue };
            assert!(row.method == Get || least > Role::Viewer, "{route:?}");
            assert!(
                row.method == Get
                    || row.audited == Audited::Yes
                    || least == Role::Planner
                    || *route == Route::Heartbeat
            );
        }
    }
}
