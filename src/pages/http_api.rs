//! `docs/http-api.md`: every route of the operator API with its parameters, body, answer and codes.
//!
//! Keeps: the routes are those of the router, the parameters those that the guard lets through, and the documents those that
//! their types define. Long because every route is a row of one table.

use std::collections::{BTreeSet, VecDeque};

use reconciler::decide::operators::{Rights, Route};

use super::sections::{anchor, linked, names_in, reached, section};
use super::structs::all;
use super::{assert_page, cell};

/// Method, path, what it does, body, answer, and the codes that it has beyond those of every path.
type RouteText = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const ROUTES: &[RouteText] = &[
    ("POST", "/v1/validate", "Checks a tree.", "ValidateRequest", "ValidateAnswer", &["413 file_too_large"]),
    (
        "POST",
        "/v1/plan",
        "Plans a tree; changes nothing.",
        "PlanRequest",
        "PlanDocument",
        &["413 file_too_large", "422 invalid_tree"],
    ),
    (
        "GET",
        "/v1/plan",
        "What the followed tree would change now, or a revision of the history; where no tree is followed, the one in force.",
        "",
        "PlanDocument",
        &["404 no_tree", "404 unknown_revision", "409 ambiguous_revision", "410 revision_gone", "422 invalid_tree"],
    ),
    (
        "POST",
        "/v1/apply",
        "Applies a tree. The answer comes at once (202); follow the apply by its id.",
        "ApplyBody",
        "ApplyResult",
        &[
            "409 stale",
            "409 rails",
            "409 dirty",
            "409 no_commit",
            "409 not_followed",
            "413 file_too_large",
            "422 invalid_tree",
            "422 with the code of a rule, where every change is rejected",
            "423 locked",
            "423 frozen",
            "507 state_not_writable",
        ],
    ),
    ("GET", "/v1/applies/{id}", "How an apply stands, or ended.", "", "ApplyResult", &["404 not_found"]),
    (
        "GET",
        "/v1/applies/{id}/events",
        "The same as a stream: an event `apply` now and after each step, until it is over.",
        "",
        "event stream of ApplyResult",
        &["404 not_found"],
    ),
    (
        "POST",
        "/v1/applies/{id}/heartbeat",
        "Keeps the lock of an apply for 20 more seconds.",
        "any JSON",
        "Lock",
        &["404 not_found"],
    ),
    (
        "POST",
        "/v1/rollback",
        "Applies a recorded revision again, or plans that with `dry_run`.",
        "RollbackBody",
        "ApplyResult, or PlanDocument with `dry_run`",
        &[
            "404 unknown_revision",
            "409 ambiguous_revision",
            "409 stale",
            "409 rails",
            "410 revision_gone",
            "423 locked",
            "423 frozen",
            "507 state_not_writable",
        ],
    ),
    (
        "POST",
        "/v1/resume",
        "Ends the hold of a rollback, or completes an apply that was cut off.",
        "ResumeBody",
        "ResumeAnswer",
        &["409 stale", "409 rails", "423 locked", "423 frozen", "507 state_not_writable"],
    ),
    ("POST", "/v1/freeze", "Stops applying.", "FreezeBody", "FreezeAnswer", &["507 state_not_writable"]),
    ("DELETE", "/v1/freeze", "Allows applying again.", "UnfreezeBody", "FreezeAnswer", &["507 state_not_writable"]),
    ("GET", "/v1/status", "Revision, edges, rules, drift and totals.", "", "StatusDocument", &["404 not_found"]),
    (
        "GET",
        "/v1/summary",
        "The fleet in a few figures, and what needs a look; its size does not grow with the fleet.",
        "",
        "FleetSummary",
        &[],
    ),
    ("GET", "/v1/revision", "What is in force and what is followed, without the edges.", "", "RevisionStatus", &[]),
    (
        "GET",
        "/v1/edges",
        "All edges, with the addresses that they connect from; `summary=true` counts the rules of each instead of listing \
         them. The header `X-Portunus-Total` counts the edges of all pages of `limit` and `offset`.",
        "",
        "list of EdgeStatus",
        &["404 not_found"],
    ),
    (
        "DELETE",
        "/v1/edges/{edge}",
        "Forgets an edge that no longer exists.",
        "any JSON",
        "ForgottenEdge",
        &["404 unknown_edge", "409 edge_connected", "507 state_not_writable"],
    ),
    (
        "POST",
        "/v1/edges/{edge}/revoke",
        "Ends the certificate, the session and the join code of an edge.",
        "any JSON",
        "RevokedEdge",
        &["404 unknown_edge", "507 state_not_writable"],
    ),
    (
        "POST",
        "/v1/edge-tokens",
        "Invites an edge: a URI that works once.",
        "EdgeTokenRequest",
        "EdgeToken",
        &["400 invalid_value", "409 not_advertised", "507 state_not_writable"],
    ),
    ("GET", "/v1/ca", "The certificate authorities that are trusted.", "", "AuthoritiesDocument", &[]),
    (
        "POST",
        "/v1/ca/rotate",
        "Makes the next certificate authority; the previous one stays trusted.",
        "any JSON",
        "AuthoritiesDocument",
        &["409 ca_given", "409 ca_overlap", "507 state_not_writable"],
    ),
    (
        "POST",
        "/v1/ca/retire",
        "Ends the previous certificate authority.",
        "RetireRequest",
        "AuthoritiesDocument",
        &["409 ca_given", "409 ca_in_use", "409 ca_single", "507 state_not_writable"],
    ),
    (
        "GET",
        "/v1/rules",
        "The rules of all edges. The header `X-Portunus-Total` counts the rules of all pages of `limit` and `offset`.",
        "",
        "list of RuleRow",
        &["404 not_found"],
    ),
    (
        "GET",
        "/v1/rules/{edge}/{rule}",
        "One rule with its targets, as its edge sees them now.",
        "",
        "RuleRow",
        &["404 not_found"],
    ),
    (
        "GET",
        "/v1/rules/{edge}/{rule}/source",
        "The text of a rule in its file of the followed tree; where none is followed, of the one in force.",
        "",
        "RuleSource",
        &["404 no_tree", "404 not_found", "409 override_rule", "410 revision_gone", "422 not_editable"],
    ),
    (
        "POST",
        "/v1/proposals",
        "Changes the text of a rule and plans the changed tree; nothing is written. The answer has the patch for `git apply`.",
        "ProposalBody",
        "Proposal",
        &[
            "404 no_tree",
            "404 not_found",
            "409 override_rule",
            "410 revision_gone",
            "413 file_too_large",
            "422 invalid_tree",
            "422 not_editable",
        ],
    ),
    (
        "GET",
        "/v1/rules/{edge}/{rule}/stats",
        "The counters of a rule, as its edge says them now.",
        "",
        "StatsDocument",
        &["404 not_found", "501 not_supported", "503 client_not_connected", "504 ack_timeout"],
    ),
    (
        "GET",
        "/v1/rules/{edge}/{rule}/stats/stream",
        "The same every 5 s: events `stats`, with rates of ports and targets, or `problem`.",
        "",
        "event stream of StatsDocument",
        &["404 not_found", "503 client_not_connected", "504 ack_timeout"],
    ),
    (
        "GET",
        "/v1/stats",
        "The counters of the selected rules, as edges reported them; ports and targets are asked for, of 100 rules at most.",
        "",
        "list of StatsDocument",
        &["404 not_found", "503 client_not_connected", "504 ack_timeout"],
    ),
    ("GET", "/v1/notify", "The notifiers, with what waits for each.", "", "list of NotifierDocument", &[]),
    (
        "POST",
        "/v1/notify/{name}/test",
        "Sends a test to a notifier, and answers once the receiver has answered or 10 s have passed.",
        "any JSON",
        "NotifyTestAnswer",
        &["404 unknown_notifier"],
    ),
    (
        "GET",
        "/v1/quotas",
        "The quotas of the selected rules and of their owners; that of an owner has no `rule`. The header \
         `X-Portunus-Total` counts the quotas of all pages of `limit` and `offset`.",
        "",
        "list of QuotaDocument",
        &["404 not_found"],
    ),
    (
        "POST",
        "/v1/quotas/{edge}/{rule}/reset",
        "Begins the period of a rule's quota anew, with a line of the history.",
        "ResetBody",
        "QuotaReset",
        &["404 unknown_quota", "503 client_not_connected", "504 ack_timeout"],
    ),
    (
        "POST",
        "/v1/quotas/{edge}/owners/{owner}/reset",
        "Begins the period of an owner's quota anew, with a line of the history.",
        "ResetBody",
        "QuotaReset",
        &["404 unknown_quota", "503 client_not_connected", "504 ack_timeout"],
    ),
    ("GET", "/v1/targets", "The targets of all rules, with totals.", "", "TargetsDocument", &["404 not_found"]),
    (
        "POST",
        "/v1/targets/{edge}/{rule}",
        "Pauses or disables all targets of a rule, ends that, or probes them now.",
        "TargetBody",
        "TargetsAnswer; CheckDocument for `check`",
        &[
            "404 unknown_edge",
            "404 unknown_rule",
            "404 unknown_target",
            "503 client_not_connected",
            "504 ack_timeout",
            "507 state_not_writable",
        ],
    ),
    (
        "POST",
        "/v1/targets/{edge}/{rule}/{target}",
        "Pauses, disables or weighs a target, ends that, or probes it now.",
        "TargetBody",
        "TargetAnswer; CheckDocument for `check`",
        &[
            "404 unknown_edge",
            "404 unknown_rule",
            "404 unknown_target",
            "503 client_not_connected",
            "504 ack_timeout",
            "507 state_not_writable",
        ],
    ),
    (
        "DELETE",
        "/v1/targets/{edge}/{rule}/{target}",
        "Ends every override of a target.",
        "ReasonBody, or no body",
        "TargetAnswer",
        &["404 unknown_edge", "404 unknown_rule", "404 unknown_target", "507 state_not_writable"],
    ),
    (
        "GET",
        "/v1/connections",
        "The live connections and flows of the selected rules, as their edges have them now.",
        "",
        "ConnectionsDocument",
        &["404 not_found"],
    ),
    (
        "DELETE",
        "/v1/connections",
        "Resets every live connection that matches. The reason is kept in the history.",
        "EndConnectionsBody",
        "EndedConnections",
        &["404 not_found", "503 client_not_connected", "504 ack_timeout", "507 state_not_writable"],
    ),
    (
        "GET",
        "/v1/trace",
        "What would happen to a connection from an address to a port of an edge, among the rules that serve there.",
        "",
        "Trace",
        &["404 not_found", "409 ambiguous_port", "409 unread_list"],
    ),
    (
        "GET",
        "/v1/unused",
        "The rules and ports of the selected rules that nobody connected to for so long; edges remember it over restarts.",
        "",
        "UnusedDocument",
        &["404 not_found"],
    ),
    (
        "GET",
        "/v1/events",
        "An event `snapshot`, then what happens. `Last-Event-ID` gets what was missed, as long as it is kept.",
        "",
        "event stream of StatusDocument, then Notice",
        &[],
    ),
    ("GET", "/v1/history", "The ledger, one entry for each apply.", "", "list of HistoryEntry", &[]),
    (
        "GET",
        "/v1/history/{id}",
        "One entry, by its number or the id of its apply, with its plan.",
        "",
        "HistoryDetail",
        &["404 not_found"],
    ),
    ("GET", "/v1/history/verification", "Whether the chain of hashes is whole.", "", "Verification", &[]),
    (
        "GET",
        "/v1/backup",
        "The whole state of the server with its keys, for `portunus restore`; it ends with a checksum.",
        "",
        "bytes",
        &["429 busy"],
    ),
    (
        "GET",
        "/v1/blame/{edge}/{port}",
        "Which commit, rule and apply put a port on an edge.",
        "",
        "Blame",
        &["404 not_found", "409 ambiguous_port", "409 override_rule", "409 before_ledger"],
    ),
    (
        "GET",
        "/v1/drift",
        "What runs in another way than it was applied, of the selected rules; `total` also counts what a limit left out.",
        "",
        "DriftDocument",
        &["404 not_found"],
    ),
    ("GET", "/v1/overrides", "The break-glass rules of all edges.", "", "list of OverrideRow", &[]),
    (
        "POST",
        "/v1/overrides",
        "Puts a rule on an edge, for a time and for a reason.",
        "OverrideBody",
        "OverrideRow",
        &[
            "400 invalid_value",
            "404 unknown_edge",
            "409 with why the rule cannot be there",
            "422 with the code of a rule",
            "507 state_not_writable",
        ],
    ),
    (
        "DELETE",
        "/v1/overrides/{edge}/{rule}",
        "Ends a break-glass rule before its time.",
        "ReasonBody, or no body",
        "OverrideRow",
        &["404 unknown_rule", "507 state_not_writable"],
    ),
    ("GET", "/v1/operators", "The operators, with their roles and limits.", "", "list of OperatorRow", &[]),
    (
        "POST",
        "/v1/operators",
        "Creates an operator. The answer holds its token, which cannot be read again.",
        "OperatorBody",
        "CreatedOperator",
        &["409 duplicate_operator", "409 reserved_name", "409 too_many_operators", "507 state_not_writable"],
    ),
    (
        "DELETE",
        "/v1/operators/{name}",
        "Revokes an operator, and ends the streams that it has open.",
        "any JSON",
        "OperatorRow",
        &["404 unknown_operator", "409 reserved_name", "507 state_not_writable"],
    ),
    ("GET", "/v1/operators/me", "The operator whose token the request carries.", "", "OperatorRow", &[]),
    (
        "GET",
        "/v1/audit",
        "Requests that could change something, and requests that were refused for lack of a token, a role or limits.",
        "",
        "AuditDocument",
        &[],
    ),
    (
        "POST",
        "/v1/webhooks/git",
        "Makes the server look at the repository that it follows. Needs no token: the call is signed with the \
        secret of `--webhook-secret-file` (`X-Hub-Signature-256`) or carries it (`X-Gitlab-Token`).",
        "anything, at most 25 MiB",
        "nothing (202)",
        &["401 unauthorized", "408 timeout", "413 file_too_large"],
    ),
];

/// Codes of every path.
const EVERYWHERE: &[(&str, &str)] = &[
    ("400 bad_request", "The path, the query or the body cannot be read; `detail` says what is wrong."),
    ("401 unauthorized", "There is no valid bearer token, and no cookie of somebody who is signed in to the page."),
    ("403 forbidden", "The operator's role does not allow it; `detail` names the role that does."),
    ("403 outside_grant", "It would change something outside of the operator's limits, which `changes` names."),
    ("403 foreign_host", "The `Host` header names another machine."),
    ("403 foreign_origin", "The request comes from a web page of another origin."),
    ("404 not_found", "There is no such path, or nothing of that name."),
    ("405 method_not_allowed", "The path exists for another method."),
    ("408 timeout", "The body took too long to arrive."),
    ("415 not_json", "The content type of a body is not `application/json`."),
    (
        "429 too_many_failed_logins",
        "Too many invalid tokens came from this address within a minute; a valid one is served.",
    ),
    (
        "429 too_many_streams",
        "The operator, or all of them together, have as many event streams open as the port has places for.",
    ),
    ("500 internal", "The server cannot do its work; its log says why."),
    ("503 stopping", "The server is stopping."),
];

const HEAD: &str = "# The HTTP API of the operator port\n\n\
    Made from the routes, the types and the comments of the program. The port is 7080 by default, on loopback only; every request \
    carries `Authorization: Bearer TOKEN` with the token of an operator: one that `portunus operator create` printed, or that of \
    the file `operator.token` of the state directory, which is an admin's. A route needs at least the role that is shown; limits \
    of edges, ports and owners hold for everything that an operator changes. Bodies are JSON \
    (`Content-Type: application/json`) of at most 256 MiB. Errors are problem documents (RFC 9457, `application/problem+json`) whose \
    field `code` is for programs. A query parameter that a path does not have is refused with 400.\n\n\
    ```sh\n\
    curl -H \"Authorization: Bearer $(cat ~/.local/state/portunus/operator.token)\" http://127.0.0.1:7080/v1/status\n\
    ```\n\n\
    Event streams are server-sent events (`text/event-stream`); a comment every 15 s shows that the connection lives.\n";

/// The routes of the router: method and path.
fn routed() -> BTreeSet<(String, String)> {
    Route::ALL.iter().map(|route| (route.row().method.as_str().to_owned(), route.row().path.to_owned())).collect()
}

/// Who may use a route, in words.
fn rights(method: &str, path: &str) -> String {
    let row = Route::find(method, path).map(Route::row);
    match row.map(|row| row.rights) {
        Some(Rights::Role { least, dry_run, unlimited }) => {
            let dry_run = if dry_run == least { String::new() } else { format!(", `{dry_run}` for a dry run") };
            let unlimited = if unlimited { ", without limits" } else { "" };
            format!("`{least}`{dry_run}{unlimited}")
        }
        Some(Rights::Signed) | None => "a secret of its own".to_owned(),
    }
}

#[test]
fn every_route_is_documented_and_no_other() {
    let documented: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(documented, routed(), "add the route to the table of src/pages/http_api.rs");
}

#[test]
fn the_page_of_the_http_api_is_current() {
    assert_page("http-api.md", &page());
}

fn page() -> String {
    let documents = all();
    let mut page = HEAD.to_owned();
    let mut write = |text: String| page.push_str(&text);
    write("\n## Routes\n\n| method | path | | least role |\n|---|---|---|---|\n".to_owned());
    for (method, path, about, ..) in ROUTES {
        let (anchor, rights) = (anchor(&format!("{method} {path}")), rights(method, path));
        write(format!("| `{method}` | [`{path}`](#{anchor}) | {} | {} |\n", cell(about), cell(&rights)));
    }
    write("\n## Codes of every path\n\n| code | meaning |\n|---|---|\n".to_owned());
    for (code, meaning) in EVERYWHERE {
        write(format!("| `{code}` | {} |\n", cell(meaning)));
    }
    let mut named = VecDeque::from(["Problem".to_owned()]);
    for (method, path, about, body, answer, codes) in ROUTES {
        write(format!("\n### {method} {path}\n\n{about}\n\n"));
        write(format!("- role: {}\n", rights(method, path)));
        let parameters = reconciler::act::operator::parameters(path);
        if !parameters.is_empty() {
            let names: Vec<String> = parameters.iter().map(|name| format!("`{name}`")).collect();
            write(format!("- query: {}\n", names.join(", ")));
        }
        for (what, text) in [("body", body), ("answer", answer)] {
            if !text.is_empty() {
                write(format!("- {what}: {}\n", linked(text, &documents)));
                named.extend(names_in(text, &documents));
            }
        }
        if !codes.is_empty() {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
            write(format!("- codes: {}\n", codes.join(", ")));
        }
    }
    write("\n## Documents\n\nFields that are not there stand for nothing, `false` or an empty list.\n".to_owned());
    for (name, document) in reached(named, &documents) {
        write(section(&name, document, &documents));
    }
    page
}
