//! One `[[rule]]` draft, with the `[defaults]` of its file, into a [`Rule`]. Pure.
//!
//! Keeps: what makes the parts of a rule fit together is [`Rule::new`]'s alone; here is only what needs the file:
//! keys that exclude each other, keys that cannot concern the rule, and the place of every problem.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::edges::Fleet;
use super::targets::{first_alike, problem_place};
use super::{CheckLimits, DraftedRule, RuleEntry, RuleFile, addresses, entry, health, lists, owners, targets};
use crate::codes::TreeCode;
use crate::decode::{Decoded, Draft, Slot};
use crate::diagnostic::{Diagnostic, LineIndex, SourceFile, Span};
use crate::fields::{Concern, root, rule};
use crate::findings::Findings;
use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, PortRange, Protocol};
use crate::rule::{Balance, LastResort, OnTargetDown, ProxyProtocol, Rule, RuleParts};
use crate::ruleset::Origin;

/// Keys of a rule or of `[defaults]` that exclude each other.
pub(crate) const EXCLUSIVE: [(usize, usize); 2] =
    [(rule::EDGES, rule::EDGE_LABELS), (rule::HEALTH, rule::HEALTH_CHECK_INTERVAL_SECS)];

/// Adds the rules of a file. True if the file by itself gave no reason for a finding.
pub(super) fn entries_of<'t>(
    file: &RuleFile<'t>,
    limits: CheckLimits,
    fleet: &mut Fleet<'t>,
    entries: &mut Vec<RuleEntry<'t>>,
    diagnostics: &mut Findings,
) -> bool {
    let defaults = file.root.table(root::DEFAULTS);
    let drafts = file.root.tables(root::RULE);
    if let Some(said) = &file.said {
        for (draft, own) in drafts.iter().zip(&**said) {
            let edges = fleet.select(file.file, draft, defaults, diagnostics);
            entries.push(RuleEntry { file: file.file, own: own.clone(), edges });
        }
        return true;
    }
    let before = diagnostics.made();
    if let Some(defaults) = defaults {
        check_defaults(file.file, defaults, diagnostics);
    }
    let mut is_clean = diagnostics.made() == before;
    let drafted = DraftFile { file: file.file, lines: LineIndex::new(file.file), defaults, limits };
    for draft in drafts {
        let before = diagnostics.made();
        let own = drafted.rule(draft, diagnostics);
        is_clean &= diagnostics.made() == before;
        entries.push(RuleEntry { file: file.file, own, edges: fleet.select(file.file, draft, defaults, diagnostics) });
    }
    is_clean
}

/// What the rules of one file share.
struct DraftFile<'f, 'd> {
    file: &'f SourceFile,
    lines: LineIndex<'f>,
    defaults: Option<&'f Draft<'d>>,
    limits: CheckLimits,
}

impl DraftFile<'_, '_> {
    fn rule(&self, draft: &Draft<'_>, diagnostics: &mut Findings) -> DraftedRule {
        let mut check = RuleCheck::new(self.file, draft, self.defaults, &self.limits, diagnostics);
        let (parts, whole) = check.parts();
        let name_span = check.anchor();
        let listen_span = check.listen_slot().map_or(name_span, |slot| slot.span);
        let rule = parts.and_then(|parts| check.rule(parts)).filter(|_| whole).map(Arc::new);
        let at = self.lines.position(draft.span.start);
        DraftedRule {
            origin: Origin { file: self.file.path.clone(), line: at.line, column: at.column },
            name: draft.text(rule::NAME).and_then(|text| RuleName::new(text).ok()),
            name_span,
            listen: check.listen_range(),
            listen_span,
            targets: targets::places(draft, rule.as_deref()),
            sni: entry::names(&check),
            lists: lists::named(check.get(rule::ACCESS)),
            accept_proxy_span: check.get(rule::ACCEPT_PROXY).map(|slot| slot.span),
            enabled: check.get(rule::ENABLED).and_then(Slot::bool).unwrap_or(true),
            rule,
        }
    }
}

/// A rule that stands alone, such as a spec: it may carry its owner's limits, and digests for its list files.
pub(crate) fn whole_rule(file: &SourceFile, own: &Draft<'_>, diagnostics: &mut Findings) -> Option<Rule> {
    let limits = CheckLimits { range_rule_max_ports: u32::MAX, ..CheckLimits::default() };
    let mut check = RuleCheck::new(file, own, None, &limits, diagnostics);
    let (parts, whole) = check.parts();
    let limits = own.table(rule::OWNER_LIMITS).map(owners::carried);
    let mut parts = parts.map(|parts| RuleParts { owner_limits: limits.flatten().map(Box::new), ..parts });
    lists::refer(parts.as_mut(), own);
    parts.and_then(|parts| check.rule(parts)).filter(|_| whole)
}

/// What can be said of `[defaults]` without a rule.
fn check_defaults(file: &SourceFile, defaults: &Draft<'_>, diagnostics: &mut Findings) {
    let limits = CheckLimits::default();
    let mut check = RuleCheck::new(file, defaults, None, &limits, diagnostics);
    check.exclusive_keys();
    check.balance();
    let mut problems = Vec::new();
    if let Some(health) = health::of(&mut check) {
        health.problems(&mut problems);
    }
    entry::read(&mut check).problems(&mut problems);
    for problem in problems {
        let span = problem_place(defaults, None, &problem.key).unwrap_or(defaults.span);
        diagnostics.push(Diagnostic::error(problem.code, file, span, problem.message));
    }
}

pub(super) struct RuleCheck<'c, 'a> {
    pub(super) file: &'c SourceFile,
    pub(super) own: &'c Draft<'a>,
    pub(super) defaults: Option<&'c Draft<'a>>,
    limits: &'c CheckLimits,
    pub(super) diagnostics: &'c mut Findings,
    /// `None` where the file names none that exists.
    pub(super) protocol: Option<Protocol>,
    /// False once a value is missing or was refused: the rule then only takes part in further checks.
    pub(super) whole: bool,
}

impl<'c, 'a> RuleCheck<'c, 'a> {
    fn new(
        file: &'c SourceFile,
        own: &'c Draft<'a>,
        defaults: Option<&'c Draft<'a>>,
        limits: &'c CheckLimits,
        diagnostics: &'c mut Findings,
    ) -> Self {
        let protocol = own.get(rule::PROTOCOL).or_else(|| defaults.and_then(|draft| draft.get(rule::PROTOCOL)));
        let protocol = match protocol.map(Slot::text) {
            None | Some(Some("tcp")) => Some(Protocol::Tcp),
            Some(Some(_)) => Some(Protocol::Udp),
            Some(None) => None,
        };
        Self { file, own, defaults, limits, diagnostics, protocol, whole: protocol.is_some() }
    }

    pub(super) fn error(&mut self, code: TreeCode, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.diagnostics.add(Diagnostic::error(code, self.file, span, message))
    }

    /// Where a message about the rule as a whole points.
    pub(super) fn anchor(&self) -> Span {
        self.own.get(rule::NAME).map_or(self.own.span, |slot| slot.span)
    }

    fn called(&self) -> String {
        match self.own.text(rule::NAME) {
            Some(name) => format!("rule `{name}`"),
            None => "the rule".to_owned(),
        }
    }

    /// What holds for a field: the rule's own word, else that of `[defaults]` where it concerns the rule.
    pub(super) fn get(&self, field: usize) -> Option<&'c Slot<'a>> {
        self.own.get(field).or_else(|| self.inherited(field))
    }

    fn inherited(&self, field: usize) -> Option<&'c Slot<'a>> {
        let slot = self.defaults?.get(field)?;
        // `[defaults]` may hold keys for both protocols; a rule takes those that can concern it.
        (self.concerns(field) && !(field == rule::PROXY_PROTOCOL && self.protocol == Some(Protocol::Udp)))
            .then_some(slot)
    }

    fn concerns(&self, field: usize) -> bool {
        match (rule::TABLE.fields[field].concern, self.protocol) {
            (Concern::Tcp, Some(Protocol::Udp)) | (Concern::Udp, Some(Protocol::Tcp)) => false,
            (Concern::All | Concern::Tcp | Concern::Udp, _) => true,
        }
    }

    /// Reads a field by a getter; a refused value makes the rule incomplete.
    pub(super) fn read<T>(&mut self, field: usize, getter: impl Fn(&'c Slot<'a>) -> Option<T>) -> Option<T> {
        let slot = self.get(field)?;
        let value = getter(slot);
        self.whole &= value.is_some();
        value
    }

    fn flag(&mut self, field: usize, default: bool) -> bool {
        self.read(field, Slot::bool).unwrap_or(default)
    }

    pub(super) fn number(&mut self, field: usize) -> Option<u64> {
        // The field table admits no negative number.
        self.read(field, Slot::int).map(i64::unsigned_abs)
    }

    fn word<T: Default>(&mut self, field: usize, parse: impl Fn(&str) -> Option<T>) -> T {
        self.read(field, |slot| slot.text().and_then(&parse)).unwrap_or_default()
    }

    fn string(&mut self, field: usize) -> String {
        self.read(field, Slot::text).map(str::to_owned).unwrap_or_default()
    }

    /// The parts, if what no default can replace is there; and whether all of them are as the file says.
    fn parts(&mut self) -> (Option<RuleParts>, bool) {
        self.applicable();
        self.exclusive_keys();
        let name = self.own.text(rule::NAME).and_then(|text| RuleName::new(text).ok());
        self.whole &= name.is_some() && !self.own.slots().iter().any(|slot| matches!(slot.value, Decoded::Refused));
        // Another name than the file's never leaves this function: the rule is not whole then.
        let name = name.unwrap_or_else(|| RuleName::new("unnamed").expect("a name"));
        let ports = self.listen_ports();
        self.range_width(ports);
        let targets = targets::read(self);
        let Some(((listen, targets), _)) = self.listen_range().zip(targets).zip(ports) else { return (None, false) };
        let mut parts = RuleParts::new(name, listen, targets);
        parts.description = self.string(rule::DESCRIPTION);
        parts.owner = self.string(rule::OWNER);
        parts.protected = self.flag(rule::PROTECTED, false);
        self.flag(rule::ENABLED, true);
        parts.prefer_ipv6 = self.flag(rule::PREFER_IPV6, false);
        parts.balance = self.balance();
        parts.health = health::of(self);
        parts.last_resort = self.word(rule::LAST_RESORT, LastResort::parse);
        parts.on_target_down = self.word(rule::ON_TARGET_DOWN, OnTargetDown::parse);
        self.limits_of(&mut parts);
        entry::read(self).put_into(&mut parts);
        (Some(parts), self.whole)
    }

    fn limits_of(&mut self, parts: &mut RuleParts) {
        if let Some(millis) = self.number(rule::CONNECT_TIMEOUT_MS) {
            parts.connect_timeout = Duration::from_millis(millis);
        }
        parts.idle_timeout = self.number(rule::IDLE_TIMEOUT_SECS).filter(|secs| *secs > 0).map(Duration::from_secs);
        if let Some(secs) = self.number(rule::HALF_CLOSED_TIMEOUT_SECS) {
            parts.half_closed_timeout = (secs > 0).then(|| Duration::from_secs(secs));
        }
        parts.stalled_timeout =
            self.number(rule::STALLED_TIMEOUT_SECS).filter(|secs| *secs > 0).map(Duration::from_secs);
        parts.max_connections = self.number(rule::MAX_CONNECTIONS).and_then(|count| NonZeroU32::new(count as u32));
        if let Some(secs) = self.number(rule::DRAIN_TIMEOUT_SECS) {
            parts.drain_timeout = Duration::from_secs(secs);
        }
        if let Some(flows) = self.number(rule::UDP_MAX_FLOWS) {
            parts.udp_max_flows = flows as u32;
        }
        if let Some(secs) = self.number(rule::UDP_FLOW_IDLE_SECS) {
            parts.udp_flow_idle = Duration::from_secs(secs);
        }
    }

    /// The rule, or its problems at their places.
    fn rule(&mut self, parts: RuleParts) -> Option<Rule> {
        // Only a duplicate target asks for the first of the two; the parts are gone by then.
        let listed = if parts.targets.len() > 1 { parts.targets.clone() } else { Vec::new() };
        let mut problems = addresses::problems(&parts);
        match Rule::new(parts) {
            Ok(rule) if problems.is_empty() => return Some(rule),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        for problem in problems {
            let span = problem_place(self.own, self.defaults, &problem.key).unwrap_or_else(|| self.anchor());
            // Without a place, as in a spec, the key says where.
            let message = if span == Span::default() {
                format!("`{}`: {}", problem.key, problem.message)
            } else {
                problem.message
            };
            let mut found = Diagnostic::error(problem.code, self.file, span, message);
            if problem.code == TreeCode::RangeWidthMismatch
                && let Some(listen) = self.listen_slot()
            {
                found = found.related(self.file, listen.span, "the rule listens here");
            }
            if problem.code == TreeCode::DuplicateTarget
                && let Some(first) = first_alike(self.own, &listed, &problem.key)
            {
                found = found.related(self.file, first, "listed first here");
            }
            self.diagnostics.push(found);
        }
        None
    }

    fn applicable(&mut self) {
        let (own, protocol) = (self.own, self.protocol);
        for slot in own.slots().iter().filter(|slot| !self.concerns(slot.field)).collect::<Vec<_>>() {
            let key = rule::TABLE.fields[slot.field].key;
            let protocol = protocol.map_or("", Protocol::as_str);
            let message = format!("`{key}` does not apply to a {protocol} rule");
            self.error(TreeCode::NotApplicable, slot.key_span, message).help =
                Some("remove the key, or set it in [defaults] for the rules that it applies to".to_owned());
            self.whole = false;
        }
    }

    fn exclusive_keys(&mut self) {
        for (one, other) in EXCLUSIVE {
            self.not_both(self.own, one, other);
        }
    }

    /// Reports two keys of one table that exclude each other.
    pub(super) fn not_both(&mut self, draft: &Draft<'_>, one: usize, other: usize) {
        let (Some(one), Some(other)) = (draft.get(one), draft.get(other)) else { return };
        let (first, second) = if one.key_span <= other.key_span { (one, other) } else { (other, one) };
        let key = |slot: &Slot<'_>| draft.table.fields[slot.field].key;
        let message = format!("`{}` and `{}` exclude each other", key(first), key(second));
        let label = format!("`{}` is set here", key(first));
        let found = Diagnostic::error(TreeCode::ConflictingKeys, self.file, second.key_span, message);
        self.diagnostics.push(found.related(self.file, first.key_span, label));
        self.whole = false;
    }

    /// Reports that one of two keys of a table is needed, unless a misspelt key was meant as one of them.
    pub(super) fn one_of(&mut self, draft: &Draft<'_>, span: Span, what: &str, fields: [usize; 2]) {
        self.whole = false;
        if fields.iter().any(|field| draft.is_meant(*field)) {
            return;
        }
        let [one, other] = fields.map(|field| draft.table.fields[field].key);
        self.error(TreeCode::MissingKey, span, format!("{what} needs `{one}` or `{other}`"));
    }

    fn listen_slot(&self) -> Option<&'c Slot<'a>> {
        self.own.get(rule::LISTEN_PORT).or_else(|| self.own.get(rule::LISTEN_PORTS))
    }

    fn listen_ports(&mut self) -> Option<PortRange> {
        self.not_both(self.own, rule::LISTEN_PORT, rule::LISTEN_PORTS);
        if self.listen_slot().is_none() {
            let what = self.called();
            self.one_of(self.own, self.anchor(), &what, [rule::LISTEN_PORT, rule::LISTEN_PORTS]);
        }
        let ports = self.listen_slot().and_then(slot_ports);
        self.whole &= ports.is_some();
        ports
    }

    fn range_width(&mut self, ports: Option<PortRange>) {
        let limit = self.limits.range_rule_max_ports;
        let (Some(ports), Some(slot)) = (ports, self.listen_slot()) else { return };
        if ports.width() > limit {
            let message = format!("the range {ports} has {} ports; at most {limit} are allowed", ports.width());
            self.error(TreeCode::RangeTooWide, slot.span, message).help =
                Some("split the range into several rules, or raise `range_rule_max_ports` in server.toml".to_owned());
            self.whole = false;
        }
    }

    /// Where the rule listens, as far as the file says it validly.
    fn listen_range(&self) -> Option<ListenRange> {
        let address = match self.own.get(rule::LISTEN_ADDRESS) {
            None => ListenAddress::Any,
            Some(slot) => slot.listen_address()?,
        };
        let ports = self.listen_slot().and_then(slot_ports)?;
        Some(ListenRange { protocol: self.protocol?, address, ports })
    }

    pub(super) fn proxy_protocol(&mut self) -> Option<ProxyProtocol> {
        self.read(rule::PROXY_PROTOCOL, |slot| slot.text().and_then(ProxyProtocol::parse))
    }

    fn balance(&mut self) -> Balance {
        let (word, sticky) = (self.own.get(rule::BALANCE), self.own.get(rule::SRC_IP_STICKY));
        let parse = |slot: &Slot<'_>| slot.text().and_then(Balance::parse);
        if let (Some(word), Some(sticky)) = (word, sticky)
            && parse(word).is_some_and(|balance| balance != Balance::SourceIp)
            && sticky.bool() == Some(true)
        {
            self.not_both(self.own, rule::BALANCE, rule::SRC_IP_STICKY);
        }
        if let Some(word) = word {
            return parse(word).unwrap_or_default();
        }
        let inherited = self.inherited(rule::BALANCE).and_then(parse);
        match sticky.and_then(Slot::bool) {
            Some(true) => Balance::SourceIp,
            // `src_ip_sticky = false` undoes the stickiness of [defaults] and nothing else.
            Some(false) => inherited.filter(|balance| *balance != Balance::SourceIp).unwrap_or_default(),
            None => match self.inherited(rule::SRC_IP_STICKY).and_then(Slot::bool) {
                Some(true) => Balance::SourceIp,
                _ => inherited.unwrap_or_default(),
            },
        }
    }
}

/// The ports of `listen_port`, `listen_ports`, `port` or `ports`.
pub(super) fn slot_ports(slot: &Slot<'_>) -> Option<PortRange> {
    // The field table bounds numbers to 1..=65535.
    slot.ports().or_else(|| slot.int().and_then(|port| PortRange::single(port as u16)))
}
