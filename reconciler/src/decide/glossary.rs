//! What every word means that an output can show and that is neither a key nor a code of the rule language. Pure data.
//!
//! Keeps: a word that an enum can show has a line here, which a test over the enums checks. Long because one line a
//! word is what people search.

/// One meaning of a word; a word of several topics has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The word as it is shown.
    pub word: &'static str,
    /// What it is said of.
    pub topic: &'static str,
    /// What it means, and where that helps, what to do.
    pub text: &'static str,
}

/// What a word means, in each of its topics.
pub fn explain(word: &str) -> impl Iterator<Item = &'static Meaning> {
    ALL.iter().filter(move |meaning| meaning.word == word)
}

const fn of(topic: &'static str, word: &'static str, text: &'static str) -> Meaning {
    Meaning { word, topic, text }
}

const RULE: &str = "state of a rule";
const TARGET: &str = "state of a target";
const HISTORY_OF_TARGET: &str = "cause of a target's state";
const RESULT: &str = "result of a health check";
const DRIFT: &str = "kind of drift";
const RAIL: &str = "rail";
const APPLY: &str = "outcome of an apply";
const EDGE: &str = "outcome of an apply on an edge";
const ENTRY: &str = "outcome of a history entry";
const ACTION: &str = "action of a history entry";
const CHANGE: &str = "change of a plan";
const IMPACT: &str = "impact of a change";
const PROOF: &str = "proof of a change";
const VERDICT: &str = "verdict on the followed tree";
const MODE: &str = "mode of the server";
const TURN: &str = "event of an override";
const API: &str = "code of the API";
const TOOL: &str = "code of the command line";
const CODE: &str = "code of an edge or a rule";
const EXIT: &str = "exit code";
const CONNECT: &str = "cause of a failed connection";
const DATAGRAM: &str = "cause of a dropped datagram";
const CHOICE: &str = "choice of a target";
const BREAK: &str = "end of a connection";
const SNI: &str = "choice by server name";
const REFUSED: &str = "refusal of a connection";
const QUOTA: &str = "state of a quota";
const DIRECTION: &str = "direction of bytes";
const NOTICE: &str = "event of a notice";
const FORGE: &str = "state of a commit";
const PLAN: &str = "verdict of a plan";
const EVENT: &str = "kind of event";

/// Every word.
pub const ALL: &[Meaning] = &[
    of(RULE, "pending", "The edge was sent the rule and has not reported it, or is offline."),
    of(RULE, "active", "The rule serves as it is desired."),
    of(
        RULE,
        "failed",
        "The desired version could not be activated. The previous version serves on, and the edge retries.",
    ),
    of(
        RULE,
        "rejected",
        "The edge cannot do what the rule asks for. It is not retried until the rule or the edge changes.",
    ),
    of(RULE, "draining", "The rule is removed; its connections end by themselves, or when the drain timeout is over."),
    of(RULE, "disabled", "The tree has the rule with `enabled = false`: it is declared and not deployed."),
    of(RULE, "unknown", "The edge is offline. The last known state is shown beside it."),
    of(RULE, "gone", "The rule does not exist on the edge any longer."),
    of(RULE, "activation_failed", "The listeners of a rule could not be opened. The code that follows says why."),
    of(TARGET, "unknown", "There is no verdict yet: the first probe has not ended, or nothing checks the target."),
    of(TARGET, "up", "The target takes new connections."),
    of(TARGET, "down", "The target failed its check, or connections to it failed. New connections go elsewhere."),
    of(TARGET, "paused", "An operator paused the target: no new connections and no probes; live connections stay."),
    of(TARGET, "disabled", "An operator or the tree disabled the target: no connections; live ones were reset."),
    of(TARGET, "removed", "The rule does not have the target any longer."),
    of(HISTORY_OF_TARGET, "start", "The target began: its rule came, or its edge started."),
    of(HISTORY_OF_TARGET, "disabled", "An operator or the tree took the target out of use at once."),
    of(HISTORY_OF_TARGET, "enabled", "The target is in use again, and starts without a verdict."),
    of(HISTORY_OF_TARGET, "paused", "An operator paused the target."),
    of(HISTORY_OF_TARGET, "resumed", "The pause ended, and the target starts without a verdict."),
    of(HISTORY_OF_TARGET, "removed", "The target left its rule."),
    of(RESULT, "L4OK", "A TCP connection was established, or an expected answer arrived on it."),
    of(RESULT, "L4TOUT", "The target did not answer the connection attempt in time."),
    of(RESULT, "L4CON", "The connection was refused, reset, or could not be made."),
    of(RESULT, "L6OK", "The TLS handshake succeeded."),
    of(RESULT, "L6TOUT", "The TLS handshake did not end in time."),
    of(RESULT, "L6RSP", "The TLS handshake failed: the certificate or the answer is not acceptable."),
    of(RESULT, "L7OK", "The expected answer arrived: an HTTP status, a text, or an echo reply."),
    of(RESULT, "L7TOUT", "The answer did not arrive in time; an echo reply is missing."),
    of(RESULT, "L7RSP", "The answer is not what the check expects, or is not valid."),
    of(RESULT, "L7STS", "The HTTP status is not among those that the check expects. The detail names it: HTTP 503."),
    of(DRIFT, "missing", "A rule that was applied does not run. The server sends it again unless its mode is off."),
    of(DRIFT, "extra", "The edge runs a rule that nothing applied. Applying a tree that names the edge removes it."),
    of(DRIFT, "changed", "The edge runs another version of the rule than the one that was applied."),
    of(DRIFT, "failed", "The rule that was applied could not be activated; the edge retries."),
    of(DRIFT, "rejected", "The edge cannot do what the rule asks for."),
    of(DRIFT, "edge_offline", "The edge is not connected. What it runs is not known, so the fleet is not in sync."),
    of(DRIFT, "stale_generation", "The edge has not taken the newest state, or a rollout has not reached it."),
    of(
        DRIFT,
        "unsettled",
        "The edge needs another state after every state that it receives, for example because two servers send to it.",
    ),
    of(
        DRIFT,
        "override",
        "A break-glass rule or an override of a target is in force, deliberately, until it expires or is ended.",
    ),
    of(
        RAIL,
        "max_removed_percent",
        "More of an edge's rules would be removed than the percentage allows, and at least three.",
    ),
    of(RAIL, "max_removed_rules", "More rules would be removed in all than the limit allows."),
    of(
        RAIL,
        "last_rule",
        "An edge that runs rules would have none left. A rule that never ran does not count. `--allow-removals N` with \
         the planned number allows it.",
    ),
    of(RAIL, "max_rebound_percent", "More of an edge's rules would change their listeners than the percentage allows."),
    of(RAIL, "max_connections_dropped", "More live connections would be cut than the limit allows."),
    of(RAIL, "protected", "A rule with `protected = true` would be removed. Apply `protected = false` first."),
    of(RAIL, "empty_file", "A file that held rules is empty. Delete it, or write a comment into it."),
    of(
        RAIL,
        "non_descendant",
        "The commit does not descend from the last applied one, or nothing tells whether it does.",
    ),
    of(APPLY, "running", "Edges have not answered yet, or wait for their wave."),
    of(APPLY, "applied", "Everything serves as it was planned."),
    of(APPLY, "partial", "A rule failed or was rejected, or an edge did not answer, is offline or was not reached."),
    of(APPLY, "superseded", "A newer tree was put in force before the edges had answered."),
    of(APPLY, "returned", "Edges were not confirmed in time and reverted to their previous state."),
    of(APPLY, "interrupted", "The server stopped before the edges had answered. What it decided stays in force."),
    of(EDGE, "queued", "The edge waits for its wave, or for a place in it."),
    of(EDGE, "waiting", "The edge was sent the state and has not answered."),
    of(EDGE, "done", "The edge runs the state, or had nothing to do."),
    of(EDGE, "offline", "The edge is not connected. It receives the state when it is back."),
    of(EDGE, "timeout", "The edge did not answer in time: what it runs is not known until its next report."),
    of(EDGE, "refused", "The edge refused the state as a whole."),
    of(EDGE, "returned", "The edge was not confirmed in time, or was reverted, and runs its previous state."),
    of(EDGE, "skipped", "An earlier wave failed, so the edge was not changed."),
    of(ENTRY, "started", "The apply has begun, and its end is not recorded yet."),
    of(ENTRY, "frozen", "An operator froze applies."),
    of(ENTRY, "unfrozen", "An operator unfroze applies."),
    of(ENTRY, "released", "The hold of a rollback ended without an apply."),
    of(ENTRY, "override", "A target was paused, disabled or given another weight."),
    of(ENTRY, "override_ended", "An operator ended or replaced the override of a target."),
    of(ENTRY, "override_expired", "The override of a target expired."),
    of(ENTRY, "override_dropped", "The tree does not have the rule or the target of the override any longer."),
    of(ENTRY, "rule_added", "A break-glass rule was added."),
    of(ENTRY, "rule_removed", "An operator ended a break-glass rule."),
    of(ENTRY, "rule_expired", "A break-glass rule expired."),
    of(ENTRY, "rule_taken_over", "The tree has the rule now, and the override ended."),
    of(ENTRY, "unsettled", "An edge did not settle."),
    of(ENTRY, "forgotten", "An operator removed an edge from the server."),
    of(ENTRY, "connections_ended", "An operator reset live connections. The note says which, and why is the reason."),
    of(ENTRY, "quota_reset", "An operator started a new period of a quota."),
    of(ACTION, "apply", "A tree was applied, by an operator or because the server follows it (`watch`)."),
    of(ACTION, "rollback", "An operator rolled back: an earlier revision was applied again and is held."),
    of(ACTION, "resume", "A hold was ended, or an interrupted apply was completed."),
    of(ACTION, "freeze", "An operator froze applies."),
    of(ACTION, "unfreeze", "An operator unfroze applies."),
    of(ACTION, "return", "An edge reverted to its state before an apply, after the server had ended that apply."),
    of(ACTION, "override", "An override of a target or a break-glass rule began or ended."),
    of(ACTION, "edge", "An edge as a whole did not settle, or was forgotten."),
    of(ACTION, "connections", "An operator ended live connections."),
    of(ACTION, "quota", "An operator started a new period of a quota."),
    of(CHANGE, "activate", "`+` A new rule begins to serve."),
    of(CHANGE, "rebind", "`±` The listeners of the rule change."),
    of(CHANGE, "update", "`~` The rule changes, and its listeners stay."),
    of(CHANGE, "move", "`>` The rule is renamed: listeners, connections and counters stay."),
    of(CHANGE, "remove", "`-` The rule ends, and its connections drain."),
    of(CHANGE, "reject", "`!` The edge does not support the rule; the rest of the plan is applied."),
    of(CHANGE, "retry", "`?` The rule is desired and failed on the edge; it is sent again."),
    of(IMPACT, "none", "No connection notices the change."),
    of(IMPACT, "new_connections", "Only connections that begin after the change are affected."),
    of(IMPACT, "drain", "Live connections drain, and are reset when the drain timeout is over."),
    of(IMPACT, "gap", "The port is closed for a moment."),
    of(PROOF, "proven", "The edge holds what the change needs."),
    of(PROOF, "modelled", "The edge could not be asked; the plan says what should happen."),
    of(PROOF, "refused", "The edge tried, and cannot do it."),
    of(VERDICT, "invalid", "The tree has errors. The last good revision stays in force."),
    of(VERDICT, "applied", "The tree is in force."),
    of(VERDICT, "dirty", "The tree differs from its commit, and nothing allows that."),
    of(VERDICT, "no_commit", "The tree has no commit, and nothing allows that."),
    of(VERDICT, "railed", "A rail holds the tree back."),
    of(VERDICT, "waiting", "The mode leaves the tree to an operator: `portunus apply` releases it."),
    of(
        VERDICT,
        "stopped",
        "The rollout of the tree was stopped. Nothing is retried automatically: apply, or commit a fix.",
    ),
    of(VERDICT, "held", "A rollback is held until git moves or `portunus resume`."),
    of(VERDICT, "frozen", "Applying is frozen until `portunus unfreeze`."),
    of(MODE, "off", "The server changes nothing on its own."),
    of(MODE, "plan", "The server plans what it follows; `portunus apply` releases it."),
    of(MODE, "heal", "The server holds what was applied last."),
    of(MODE, "apply", "The server follows the tree."),
    of(TURN, "set", "An operator ordered the override."),
    of(TURN, "ended", "An operator ended or replaced the override."),
    of(TURN, "expired", "The override expired."),
    of(TURN, "dropped", "The tree does not have the rule or the target any longer."),
    of(
        CODE,
        "confirmation_unsupported_by_client",
        "The edge cannot revert on its own. Upgrade it, or apply without --confirm-within.",
    ),
    of(CODE, "not_confirmed", "The edge did not receive a confirmation in time and reverted to its previous state."),
    of(CODE, "not_healthy", "The rule serves, and its targets were not up in time."),
    of(CODE, "wave_failed", "An earlier wave failed, so the edge was not changed."),
    of(CODE, "rollout_unfinished", "A rollout has not reached the edge, or was stopped before it."),
    of(CODE, "already_connected", "Another process speaks for this edge. The session that exists stays."),
    of(CODE, "unsettled", "The edge needs another state after every state that it receives."),
    of(CODE, "two_servers", "Two servers send their states to the edge. Stop one of them."),
    of(CODE, "other", "A word that this version does not know, as of a newer edge."),
    of(API, "ambiguous_port", "TCP and UDP both have the port. Name one: 53/udp."),
    of(API, "ambiguous_revision", "The name fits several revisions. Use one of those that the message lists."),
    of(API, "bad_request", "The request cannot be understood. The message says what is expected."),
    of(API, "before_ledger", "The port was put there before the ledger began."),
    of(API, "dirty", "The tree differs from its commit. Commit the changes, or use --allow-dirty."),
    of(API, "no_commit", "The tree has no commit. Commit it to a git repository, or use --allow-dirty."),
    of(API, "duplicate_operator", "An operator has that name. Revoke it first, or choose another name."),
    of(API, "edge_connected", "The edge has a session, so it cannot be forgotten. Stop it first."),
    of(API, "extra", "The edge runs rules that nothing applied; they are decided about first."),
    of(API, "forbidden", "The role of the operator does not allow it. The message names the role that does."),
    of(API, "foreign_host", "The Host header names another machine."),
    of(API, "foreign_origin", "The request comes from a web page of another origin."),
    of(API, "frozen", "Applying is frozen. `portunus status` shows by whom and until when."),
    of(API, "busy", "Another backup is being made. Try again once it has ended."),
    of(API, "ca_given", "The certificate authority was given with --ca-cert: replace it where it is kept."),
    of(
        API,
        "ca_in_use",
        "Edges still use certificates of the previous authority; they are listed. --force ends it anyway.",
    ),
    of(API, "ca_overlap", "Two authorities are trusted already. Retire the previous one first."),
    of(API, "ca_single", "There is no previous authority to retire."),
    of(
        API,
        "ca_unusable",
        "The certificate authority in the state directory cannot be used. The server's log says why.",
    ),
    of(API, "internal", "The server met an error of its own. Its log has more."),
    of(API, "invalid_tree", "The tree has errors, which are listed."),
    of(API, "locked", "Another apply is running. `portunus status` shows its progress."),
    of(API, "method_not_allowed", "The path exists for another method."),
    of(
        API,
        "not_editable",
        "The form of the rule cannot be changed automatically. The message says what to edit instead.",
    ),
    of(API, "no_tree", "No tree is followed, and none was applied yet, so there is nothing to plan or to change."),
    of(API, "not_followed", "In mode apply only the followed tree can be applied."),
    of(API, "not_advertised", "Edges need an address to connect to: start the server with --advertise HOST:PORT."),
    of(API, "not_found", "There is no such path, edge, rule, entry or apply, or nothing matches the selection."),
    of(API, "not_json", "The body must be JSON, and the content type must be application/json."),
    of(API, "not_supported", "The edge's version cannot do this. Upgrade it."),
    of(
        API,
        "outside_grant",
        "It changes something outside of the operator's limits, which are listed. Nothing was done.",
    ),
    of(API, "override_rule", "A break-glass rule has the port: no commit put it there."),
    of(API, "rails", "Rails are tripped. The named flag allows the plan if that is intended."),
    of(API, "reserved_name", "The name stands for something else in the ledger. Choose another one."),
    of(API, "revision_gone", "The files of the revision are not kept any longer. Check its commit out and apply that."),
    of(API, "stale", "The fleet changed since the plan was made, or the plan was used. Plan again."),
    of(API, "state_not_writable", "The server cannot write its state. Nothing was done; check its disk."),
    of(API, "stopping", "The server is stopping."),
    of(API, "timeout", "The body did not arrive in time."),
    of(
        API,
        "too_many_failed_logins",
        "Too many invalid tokens came from this address. Wait a minute, or use a valid one.",
    ),
    of(API, "too_many_operators", "The server has as many operators as it keeps. Revoke those that are not used."),
    of(
        API,
        "too_many_streams",
        "The operator, or all of them together, have as many event streams open as the port has places for. Close some.",
    ),
    of(API, "unauthorized", "A valid bearer token is required."),
    of(API, "unknown_edge", "The server knows no such edge."),
    of(API, "unknown_notifier", "No `[[notify]]` table has this name. The message lists those that there are."),
    of(API, "unknown_operator", "There is no such operator. `portunus operator list` shows those that there are."),
    of(API, "unknown_revision", "No such revision was applied. `portunus history` lists those that were."),
    of(API, "unknown_rule", "No such rule is desired on the edge."),
    of(API, "unknown_target", "The rule does not have such a target."),
    of(API, "unread_list", "The networks of a list file of the rule are not at hand. Trace in the rule tree instead."),
    of(API, "unknown_quota", "The rule or owner has no quota, or its edge has not reported it yet."),
    of(TOOL, "usage", "The command line is wrong."),
    of(TOOL, "untrusted_server", "The server's certificate is not the pinned or a trusted one. Nothing was sent."),
    of(TOOL, "io", "A file or the output cannot be read or written."),
    of(TOOL, "moving_tree", "The tree changes while it is read. Try again when nothing writes to it."),
    of(TOOL, "unreachable", "The server cannot be reached."),
    of(TOOL, "foreign_server", "What answers at the address is not a portunus server."),
    of(TOOL, "cut_off", "The server restarted during the apply. What it decided stays in force and continues."),
    of(TOOL, "interrupted", "Somebody ended the command."),
    of(TOOL, "error", "An error of another kind. The message describes it."),
    of(EXIT, "0", "Done, nothing to do, or in sync; also a plan with changes."),
    of(EXIT, "1", "An error: an invalid tree, I/O, something unknown, or an internal error."),
    of(EXIT, "2", "Only with --detailed-exitcode or `fmt --check`: there are changes or drift."),
    of(EXIT, "3", "Refused, nothing was sent: a rail, a tree that is not committed, or not the followed one."),
    of(EXIT, "4", "The plan is stale or was used already. Nothing was sent."),
    of(EXIT, "5", "Partial: a rule was rejected or failed, or an edge timed out or is not known."),
    of(EXIT, "6", "The fleet is frozen, or another apply holds the lock."),
    of(EXIT, "7", "The server cannot be reached."),
    of(EXIT, "64", "The command line is wrong."),
    of(EXIT, "130", "Interrupted."),
    of(CONNECT, "refused", "The target refused the connection."),
    of(CONNECT, "timeout", "The target did not answer in time."),
    of(CONNECT, "unreachable", "A router or the target's network reports that it cannot be reached."),
    of(CONNECT, "reset", "The target reset the connection while it was made."),
    of(CONNECT, "descriptors", "The edge has no file descriptors left. Raise its limit."),
    of(CONNECT, "source_ports", "The edge has no source ports left for this target."),
    of(CONNECT, "memory", "The edge's host has no memory left for sockets."),
    of(CONNECT, "firewall", "A firewall, a policy or a route of the edge's host forbids the connection."),
    of(CONNECT, "loop", "The target is a listener of the edge itself."),
    of(CONNECT, "policy", "The edge's own policy forbids the address, or it serves the metadata of a cloud."),
    of(CONNECT, "route", "The edge's host has no route to the target."),
    of(CONNECT, "dns", "The name of the target did not resolve."),
    of(DATAGRAM, "unresolved", "The name of the target did not resolve."),
    of(DATAGRAM, "unreachable", "The target cannot be reached."),
    of(DATAGRAM, "too_large", "The datagram is larger than the way to the target takes."),
    of(DATAGRAM, "no_room", "The socket had no room for the datagram."),
    of(CHOICE, "first", "The first eligible target took the connection."),
    of(CHOICE, "next", "A later target took it, after others had failed."),
    of(CHOICE, "untracked", "No target was eligible, and `last_resort` chose one."),
    of(CHOICE, "no_server", "No target was eligible, and the connection was refused."),
    of(BREAK, "client_reset", "The client reset the connection."),
    of(BREAK, "client_timeout", "The client stopped answering."),
    of(BREAK, "client_other", "The connection to the client failed in another way."),
    of(BREAK, "target_reset", "The target reset the connection."),
    of(BREAK, "target_timeout", "The target stopped answering."),
    of(BREAK, "target_other", "The connection to the target failed in another way."),
    of(BREAK, "edge_idle", "Nothing moved for `idle_timeout_secs`."),
    of(BREAK, "edge_half_closed", "One side had ended, and nothing moved for `half_closed_timeout_secs`."),
    of(BREAK, "edge_stalled", "A peer took nothing for `stalled_timeout_secs` while data waited for it."),
    of(BREAK, "edge_cut", "A change ended the connection, or its drain timeout was over."),
    of(BREAK, "edge_operator", "An operator ended the connection, with `connections end`."),
    of(BREAK, "edge_quota", "A quota that stops was used up."),
    of(REFUSED, "enforce_access", "The connection was refused: the access list of the rule refuses the source."),
    of(
        REFUSED,
        "enforce_connections",
        "The connection was refused: `rate_limit` of the rule or its owner allows no more connections.",
    ),
    of(
        REFUSED,
        "enforce_connection_rate",
        "The connection was refused: new connections came faster than `new_connections_per_sec` allows.",
    ),
    of(
        REFUSED,
        "enforce_source_connections",
        "The connection was refused: the source has as many connections as `per_source.connections` allows.",
    ),
    of(
        REFUSED,
        "enforce_source_rate",
        "The connection was refused: new connections of the source came faster than `per_source.new_connections_per_sec` allows.",
    ),
    of(REFUSED, "enforce_quota", "The connection was refused: the quota of the rule or its owner is used up."),
    of(
        REFUSED,
        "enforce_proxy_header",
        "The connection was refused: a load balancer of `accept_proxy` sent no valid PROXY header in time.",
    ),
    of(
        REFUSED,
        "observe_access",
        "The connection would have been refused, and `observe` let it pass: the access list of the rule refuses the source.",
    ),
    of(
        REFUSED,
        "observe_connections",
        "The connection would have been refused, and `observe` let it pass: `rate_limit` of the rule or its owner allows no more connections.",
    ),
    of(
        REFUSED,
        "observe_connection_rate",
        "The connection would have been refused, and `observe` let it pass: new connections came faster than `new_connections_per_sec` allows.",
    ),
    of(
        REFUSED,
        "observe_source_connections",
        "The connection would have been refused, and `observe` let it pass: the source has as many connections as `per_source.connections` allows.",
    ),
    of(
        REFUSED,
        "observe_source_rate",
        "The connection would have been refused, and `observe` let it pass: new connections of the source came faster than `per_source.new_connections_per_sec` allows.",
    ),
    of(
        REFUSED,
        "observe_quota",
        "The connection would have been refused, and `observe` let it pass: the quota of the rule or its owner is used up.",
    ),
    of(
        REFUSED,
        "observe_proxy_header",
        "The connection would have been refused, and `observe` let it pass: a load balancer of `accept_proxy` sent no valid PROXY header in time.",
    ),
    of(SNI, "exact", "The server name of the client is one that the rule lists."),
    of(SNI, "wildcard", "The server name of the client matches a wildcard of the rule."),
    of(SNI, "fallback", "No rule of the port lists the server name, or the client sent none."),
    of(PLAN, "blocked", "A rail would trip, so the apply would send nothing (exit 3). The named flag allows it."),
    of(DATAGRAM, "rate", "The bandwidth or the quota of the rule or its owner was used up."),
    of(DIRECTION, "in", "From clients to targets."),
    of(DIRECTION, "out", "From targets to clients."),
    of(QUOTA, "available", "Less than the warning percentage is used."),
    of(QUOTA, "warning", "The warning percentage is reached."),
    of(QUOTA, "exhausted", "Nothing is left until the period ends, or until `quota reset`."),
    of(EVENT, "snapshot", "What is in force when the stream begins. What happens follows it."),
    of(EVENT, "edge", "An edge connected, disconnected, or has another generation."),
    of(EVENT, "certificate", "A certificate of an edge or of the authority nears its end, has ended, or was renewed."),
    of(EVENT, "rule", "The state of a rule changed."),
    of(EVENT, "health", "The health of a rule changed."),
    of(EVENT, "balance", "A rule distributes new connections differently."),
    of(EVENT, "target", "The state of a target changed."),
    of(EVENT, "weights", "The shares of a rule's targets changed."),
    of(EVENT, "target_override", "An override of a target was set or ended."),
    of(EVENT, "quota", "A quota is nearly used up, used up, or available again."),
    of(EVENT, "override", "A break-glass rule was added or removed, or changed its state."),
    of(EVENT, "tree", "The followed tree was read. The verdict says whether it was applied."),
    of(EVENT, "remote", "The git remote was fetched, or could not be reached."),
    of(EVENT, "apply", "An apply began, or ended."),
    of(EVENT, "freeze", "Applies were frozen or unfrozen."),
    of(NOTICE, "apply", "An apply ended."),
    of(NOTICE, "held", "The followed tree is not applied, or the git remote cannot be fetched. The text says why."),
    of(
        NOTICE,
        "drift",
        "An edge runs a different state than the applied one, or an operator overrode the tree; or that ended.",
    ),
    of(NOTICE, "health", "A rule or a target is down, or up again."),
    of(NOTICE, "edge", "An edge is offline, or connected again."),
    of(NOTICE, "quota", "A quota is nearly used up, used up, or available again."),
    of(NOTICE, "rollback", "An operator rolled back to an earlier revision, or the hold of a rollback ended."),
    of(NOTICE, "freeze", "Applies were frozen or unfrozen."),
    of(NOTICE, "certificate", "A certificate was not renewed in time, expired, or was renewed."),
    of(NOTICE, "several", "Several notices were merged into one message. `merged` lists them."),
    of(FORGE, "pending", "The commit is being applied, or waits for an operator."),
    of(FORGE, "success", "The commit was applied completely."),
    of(FORGE, "failure", "The commit was applied in part, or is held. The description says why."),
    of(EVENT, "hold", "A revision is held, or its hold has ended."),
];

/// All words as a page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Words\n\nWhat the words mean that outputs, events, the API and metrics show, as `portunus explain WORD` has \
         them. Keys and codes of the rule language are in [reference.md](reference.md).\n",
    );
    let mut topics: Vec<&str> = Vec::new();
    for meaning in ALL {
        if !topics.contains(&meaning.topic) {
            topics.push(meaning.topic);
        }
    }
    for topic in topics {
        let mut letters = topic.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        page.extend(["\n## ", &first, letters.as_str(), "\n\n| word | meaning |\n|---|---|\n"]);
        for meaning in ALL.iter().filter(|meaning| meaning.topic == topic) {
            page.extend(["| `", meaning.word, "` | ", &meaning.text.replace('|', "\\|"), " |\n"]);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use schema::codes;
    use schema::health::{ResultCode, TargetState};
    use schema::reference;
    use schema::state::RuleState;

    use super::*;
    use crate::decide::deviations::DeviationChange;
    use crate::decide::drift::DriftKind;
    use crate::decide::fleet::{EdgeOutcome, Mode, Outcome};
    use crate::decide::ledger::OUTCOMES;
    use crate::decide::plan::Action;
    use crate::decide::words;

    /// True if `explain` knows the word: here, or as a key or a code of the rule language.
    fn is_known(word: &str) -> bool {
        explain(word).next().is_some() || codes::explain(word).is_some() || reference::explain(word).is_ok()
    }

    #[test]
    fn every_word_of_an_enum_is_explained() {
        let mut words: Vec<&str> = Vec::new();
        words.extend(RuleState::ALL.iter().map(|state| state.as_str()));
        words.push(RuleState::Unknown.as_str());
        words.extend(TargetState::ALL.iter().map(|state| state.as_str()));
        words.extend(ResultCode::ALL.iter().map(|code| code.as_str()));
        words.extend(DriftKind::ALL.iter().map(|kind| kind.as_str()));
        words.extend(Outcome::ENDS.iter().map(|outcome| outcome.as_str()));
        words.push(Outcome::Running.as_str());
        words.extend(EdgeOutcome::ALL.iter().map(|outcome| outcome.as_str()));
        words.extend(OUTCOMES);
        words.extend(crate::decide::ledger::LedgerAction::ALL.iter().map(|action| action.as_str()));
        words.extend(Action::ALL.iter().map(|action| action.as_str()));
        words.extend(
            [DeviationChange::Set, DeviationChange::Ended, DeviationChange::Expired, DeviationChange::Dropped]
                .map(DeviationChange::as_str),
        );
        words.extend([Mode::Off, Mode::Plan, Mode::Heal, Mode::Apply].map(Mode::as_str));
        words.extend(crate::decide::notices::Topic::ALL.map(crate::decide::notices::Topic::as_str));
        words.extend(words::UNASKED);
        words.extend(schema::counters::ROWS.iter().flat_map(|row| row.words));
        let unknown: Vec<&str> = words.into_iter().filter(|word| !is_known(word)).collect();
        assert!(unknown.is_empty(), "`explain` does not know {unknown:?}");
    }

    #[test]
    fn a_word_has_one_meaning_a_topic_and_it_is_a_sentence() {
        for (place, meaning) in ALL.iter().enumerate() {
            let is_same = |other: &Meaning| (other.word, other.topic) == (meaning.word, meaning.topic);
            assert!(!ALL[place + 1..].iter().any(is_same), "{} twice", meaning.word);
            assert!(meaning.text.ends_with('.'), "{}", meaning.word);
        }
    }
}
