//! Fleet scripts: commands in, effects out, compared with what tests/golden/fleet has. Files; otherwise pure.
//!
//! A block is one or more commands, a dashed line, what came of them, and an empty line. `PORTUNUS_UPDATE_GOLDEN=1`
//! writes what came of them into the file.
//!
//! Long because each command of the language is a few lines, and they are read together.
//!
//! ```text
//! mode apply [--allow-dirty]          the server starts in that mode, with the records that it has
//! tree T [--dirty] [--commit C] [E: RULE PORTS[>TARGET] [protected] [checked] [+HOST]…, … | E: …]   it is read
//! tree T --broken                     … and has errors
//! define T …                          a tree that only operators have
//! plan T as P · apply T [--plan P] [--seal S] [--timeout 10s] [--allow-…]   what operators do
//! rollback T [--allow-…] · resume T · release · freeze [60s] · unfreeze · heartbeat ID   and more of it
//! hello E · second-hello E · gone E   sessions
//! deliver E [lost-ack]                the edge takes what is in flight and reports
//! hear E · window-ends E               the edge hears that its state is kept, or returns where it did not in time
//! report E · repeat-report E AGE · report-of-session E N   reports at any time
//! restart-edge E [without-disk] · taken E PORT · free E PORT · forbid E RULE CODE · lacks E CAP · has E CAP
//! refuse-next E                       the edge refuses the next state as a whole
//! state E RULE TARGET STATE[*N] [CODE]   a target's state (and attempts) from now on; reported with the next report
//! order E RULE TARGET pause|resume|disable|enable|end|weight=N [--ttl 60s] [--why TEXT]   what operators do
//! restart-server [MODE] · lose-state · dies-after N   (effects of the next command)
//! tick 61s · status
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reconciler::decide::deviations::Order;
use reconciler::decide::fleet::{ApplyRequest, Control, Effect, Event, Mode, Purpose, Request, TargetOrder, TreeRead};
use reconciler::decide::plan::{Allowances, Plan, Source};
use reconciler::decide::succession::Ancestry;
use schema::canonical::Digest;
use schema::capability::Capability;
use schema::diagnostic::{DiagnosticJson, Severity};
use schema::health::{HealthCheck, HealthKind};
use schema::name::{EdgeName, RuleName};
use schema::net::{ListenAddress, PortRange};
use schema::ruleset::{Placed, RuleSet};
use schema::testing::rule_with;

use crate::words::{self, TreeNames};
use crate::world::World;

struct Script {
    world: World,
    names: TreeNames,
    trees: BTreeMap<String, TreeRead>,
    plans: BTreeMap<String, Plan>,
}

pub(crate) fn edge_name(text: &str) -> EdgeName {
    EdgeName::new(text).expect("a name")
}

fn mode(text: &str) -> Mode {
    [Mode::Off, Mode::Plan, Mode::Heal, Mode::Apply].into_iter().find(|mode| mode.as_str() == text).expect("a mode")
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().expect("seconds"))
}

/// `80` or `8000-8009`.
fn ports(text: &str) -> PortRange {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    PortRange::new(first.parse().expect("a port"), last.parse().expect("a port")).expect("a range")
}

/// A tree without files, as it is read when it is valid.
pub(crate) fn read(ruleset: RuleSet) -> TreeRead {
    TreeRead {
        source: Source {
            vcs: "git".to_owned(),
            commit: Some("c0ffee".to_owned()),
            ..Source::unversioned(ruleset.digest)
        },
        ruleset: Some(Arc::new(ruleset)),
        diagnostics: Vec::new(),
        files: Arc::new([]),
        ancestry: None,
    }
}

/// `a: web 80, r 8000-8009 | b: web 80`
pub(crate) fn ruleset(digest: Digest, text: &str) -> RuleSet {
    let mut ruleset = RuleSet { digest, ..RuleSet::default() };
    for edge in text.split('|').map(str::trim).filter(|edge| !edge.is_empty()) {
        let (name, rules) = edge.split_once(':').expect("an edge and its rules");
        for rule in rules.split(',') {
            let mut words = rule.split_whitespace();
            let name_of_rule = words.next().expect("a rule's name");
            let (listen, target) = words.next().expect("its ports").split_once('>').map_or_else(
                || (ports(rule.split_whitespace().nth(1).expect("its ports")), None),
                |(listen, target)| (ports(listen), Some(ports(target))),
            );
            let rest: Vec<&str> = words.collect();
            let is_protected = rest.contains(&"protected");
            let is_checked = rest.contains(&"checked");
            let more: Vec<&str> = rest.iter().filter_map(|word| word.strip_prefix('+')).collect();
            let rule = rule_with(name_of_rule, listen.first(), listen.last(), |parts| {
                parts.protected = is_protected;
                // Not on all addresses: 127.0.0.1 at the same port would be the rule itself.
                parts.listen.address = ListenAddress::Ip([10, 0, 0, 9].into());
                parts.targets[0].ports = target.unwrap_or(listen);
                for host in more {
                    let mut another = parts.targets[0].clone();
                    another.host = schema::rule::Host::parse(host).expect("a host");
                    parts.targets.push(another);
                }
                if is_checked {
                    parts.health = Some(HealthCheck::new(HealthKind::Tcp, 15));
                }
            });
            let rules = ruleset.edges.entry(edge_name(name.trim())).or_default();
            rules.insert(rule.name.clone(), Placed { rule, origin: None });
        }
    }
    ruleset
}

/// Flags in front or behind, and the other words.
fn flags(words: &[&str]) -> (BTreeMap<String, String>, Vec<String>) {
    let with_value = [
        "--ttl",
        "--why",
        "--commit",
        "--plan",
        "--seal",
        "--timeout",
        "--confirm-within",
        "--allow-removals",
        "--allow-rebinds",
    ];
    let (mut flags, mut rest) = (BTreeMap::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if with_value.contains(word) {
            flags.insert((*word).to_owned(), (*words.next().expect("a value")).to_owned());
        } else if word.starts_with("--") {
            flags.insert((*word).to_owned(), String::new());
        } else {
            rest.push((*word).to_owned());
        }
    }
    (flags, rest)
}

impl Script {
    fn new() -> Self {
        Self {
            world: World::new(Mode::Apply, false),
            names: TreeNames::new(),
            trees: BTreeMap::new(),
            plans: BTreeMap::new(),
        }
    }

    /// Defines a tree, or changes what surrounds one that is defined.
    fn define(&mut self, words: &[&str]) -> TreeRead {
        let (name, rest) = words.split_first().expect("a tree's name");
        let (flags, content) = flags(rest);
        let digest = Digest::of(name.as_bytes());
        self.names.insert(digest, (*name).to_owned());
        let known = self.trees.get(*name).and_then(|tree| tree.ruleset.clone());
        let is_broken = flags.contains_key("--broken");
        let ruleset = match known.filter(|_| content.is_empty()) {
            Some(known) => known,
            None => Arc::new(ruleset(digest, &content.join(" "))),
        };
        let source = Source {
            vcs: "git".to_owned(),
            dirty: flags.contains_key("--dirty"),
            commit: flags.get("--commit").cloned().or(Some("c0ffee".to_owned())),
            ..Source::unversioned(digest)
        };
        let error = DiagnosticJson {
            severity: Severity::Error,
            code: "syntax".to_owned(),
            message: "broken".to_owned(),
            file: "a.toml".to_owned(),
            line: Some(1),
            column: Some(1),
            hint: None,
            related: Vec::new(),
        };
        let tree = TreeRead {
            source,
            ruleset: (!is_broken).then_some(ruleset),
            diagnostics: if is_broken { vec![error] } else { Vec::new() },
            files: Arc::new([]),
            ancestry: None,
        };
        self.trees.insert((*name).to_owned(), tree.clone());
        tree
    }

    fn plan(&mut self, tree: &str, name: &str) -> String {
        let document = self.world.plan(&self.trees[tree]);
        let changes: Vec<String> = document
            .changes
            .iter()
            .map(|change| format!("{} {}/{}", change.action.as_str(), change.edge, change.rule))
            .collect();
        self.plans.insert(name.to_owned(), document);
        if changes.is_empty() { "no changes".to_owned() } else { changes.join(", ") }
    }

    fn control(&mut self, control: Control) -> Vec<Effect> {
        self.world.step(Event::Control { ticket: 1, actor: "operator".to_owned(), control })
    }

    fn freeze(&mut self, ttl: Option<&str>) -> Vec<Effect> {
        let until = ttl.map(|text| self.world.now().checked_add(seconds(text)).expect("in range"));
        self.control(Control::Freeze { why: "a test".to_owned(), until })
    }

    /// The commits of a script follow one another as they come.
    fn descending(&self, tree: TreeRead) -> TreeRead {
        let applied = self.world.fleet.applied().and_then(|applied| applied.source.commit.clone());
        TreeRead { ancestry: applied.map(|ancestor| Ancestry { ancestor, descends: true }), ..tree }
    }

    fn apply(&mut self, purpose: Purpose, words: &[&str]) -> Vec<Effect> {
        let (flags, rest) = flags(words);
        let number = |flag: &str| flags.get(flag).map(|value| value.parse().expect("a number"));
        let request = ApplyRequest {
            purpose,
            tree: self.descending(self.trees[&rest[0]].clone()),
            plan: flags.get("--plan").map(|name| self.plans[name].clone()),
            seal: flags.get("--seal").map(|seal| Digest::of(seal.as_bytes())),
            allowances: Allowances {
                removals: number("--allow-removals"),
                rebinds: number("--allow-rebinds"),
                empty: flags.contains_key("--allow-empty"),
                dirty: flags.contains_key("--allow-dirty"),
                ..Allowances::default()
            },
            actor: "operator".to_owned(),
            authority: None,
            applied_by: None,
            timeout: flags.get("--timeout").map_or(Duration::from_mins(1), |text| seconds(text)),
            allow_offline: flags.contains_key("--allow-offline"),
            rollback: flags.contains_key("--rollback"),
            wait_healthy: flags.contains_key("--wait-healthy"),
            confirm_within: flags.get("--confirm-within").map(|text| seconds(text)),
            quiet_window: Duration::ZERO,
        };
        self.world.step(Event::Apply { ticket: 1, request: Box::new(request) })
    }

    #[expect(clippy::too_many_arguments, reason = "the words of one line of a script")]
    fn order(&mut self, edge: &str, rule: &str, target: &str, order: &str, rest: &[&str]) -> Vec<Effect> {
        let (flags, _) = flags(rest);
        let order = match order.split_once('=') {
            Some(("weight", weight)) => Order::Weight(weight.parse().expect("a weight")),
            _ => [Order::Pause, Order::Resume, Order::Disable, Order::Enable, Order::End]
                .into_iter()
                .find(|each| each.as_str() == order)
                .expect("an order"),
        };
        let order = TargetOrder {
            edge: edge_name(edge),
            rule: RuleName::new(rule).expect("a name"),
            target: target.to_owned(),
            order,
            actor: "operator".to_owned(),
            why: flags.get("--why").cloned().unwrap_or_default(),
            ttl: flags.get("--ttl").map(|text| seconds(text)),
        };
        self.world.step(Event::Request { ticket: 1, authority: None, request: Box::new(Request::Target(order)) })
    }

    fn session_command(&mut self, words: &[&str]) -> Vec<Effect> {
        let edge = edge_name(words[1]);
        match (words[0], &words[2..]) {
            ("hello", []) => self.world.hello(&edge),
            ("second-hello", []) => self.world.second_hello(&edge),
            ("gone", []) => self.world.gone(&edge),
            ("window-ends", []) => self.world.window_ends(&edge),
            ("report", []) => self.world.report(&edge),
            ("repeat-report", [age]) => self.world.repeat_report(&edge, age.parse().expect("a number")),
            ("report-of-session", [id]) => self.world.report_of_session(&edge, id.parse().expect("a number")),
            ("restart-edge", []) => self.world.restart_edge(&edge, false),
            ("restart-edge", ["without-disk"]) => self.world.restart_edge(&edge, true),
            _ => {
                self.edge_command(&edge, words);
                Vec::new()
            }
        }
    }

    fn edge_command(&mut self, edge: &EdgeName, words: &[&str]) {
        let edge = &mut self.world.link(edge).edge;
        let capability = |text: &str| Capability::parse(text).expect("a capability");
        match (words[0], &words[2..]) {
            ("taken", [port]) => edge.set_taken(port.parse().expect("a port"), true),
            ("free", [port]) => edge.set_taken(port.parse().expect("a port"), false),
            ("forbid", [rule, code]) => edge.forbid(RuleName::new(rule).expect("a name"), code),
            ("lacks", [name]) => edge.set_capability(capability(name), false),
            ("has", [name]) => edge.set_capability(capability(name), true),
            ("refuse-next", []) => edge.refuses_next = true,
            ("state", [rule, target, state, code @ ..]) => {
                edge.set_target(&RuleName::new(rule).expect("a name"), target, state, code.first().copied());
            }
            _ => panic!("no such command: {words:?}"),
        }
    }

    /// One command; what came of it, a line each.
    fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let effects = match words[..] {
            ["mode", name] => {
                self.world.restart_in(mode(name));
                Vec::new()
            }
            ["mode", name, "--allow-dirty"] => {
                self.world = World::new(mode(name), true);
                Vec::new()
            }
            ["restart-server"] => {
                self.world.restart_server();
                Vec::new()
            }
            ["lose-state"] => {
                self.world.lose_state();
                Vec::new()
            }
            ["dies-after", count] => {
                self.world.dies_after = Some(count.parse().expect("a number"));
                Vec::new()
            }
            ["tick", time] => self.world.tick(seconds(time)),
            ["tree", ..] => {
                let tree = self.define(&words[1..]);
                let tree = self.descending(tree);
                self.world.step(Event::Tree(tree))
            }
            ["define", ..] => {
                self.define(&words[1..]);
                Vec::new()
            }
            ["apply", ..] => self.apply(Purpose::Apply, &words[1..]),
            ["order", edge, rule, target, order, ..] => self.order(edge, rule, target, order, &words[5..]),
            ["rollback", ..] => self.apply(Purpose::Rollback { why: String::new(), hold: true }, &words[1..]),
            ["resume", ..] => self.apply(Purpose::Resume { why: String::new() }, &words[1..]),
            ["release"] => self.control(Control::Release { why: String::new() }),
            ["freeze", ref ttl @ ..] => self.freeze(ttl.first().copied()),
            ["unfreeze"] => self.control(Control::Unfreeze { why: String::new() }),
            ["heartbeat", apply] => self.world.step(Event::Heartbeat { apply: apply.to_owned() }),
            ["plan", tree, "as", name] => return self.plan(tree, name),
            ["status"] => return words::status(&self.world.fleet, &self.names),
            ["deliver", edge, ref rest @ ..] => match self.world.deliver(&edge_name(edge), rest == ["lost-ack"]) {
                Some(effects) => effects,
                None => return format!("nothing is in flight to {edge}"),
            },
            ["hear", edge] => match self.world.hear(&edge_name(edge)) {
                Some(effects) => effects,
                None => return format!("no confirmation is on its way to {edge}"),
            },
            [_, _, ..] => self.session_command(&words),
            _ => panic!("no such command: {line}"),
        };
        words::effects(&effects, &self.names).join("\n")
    }
}

/// Runs a script; the text with what came of it.
fn run(text: &str) -> String {
    let mut script = Script::new();
    let mut result = String::new();
    let mut captured: Vec<String> = Vec::new();
    let mut is_output = false;
    for line in text.lines() {
        match line {
            "----" => {
                is_output = true;
                result.push_str("----\n");
                for text in captured.drain(..).filter(|text| !text.is_empty()) {
                    result.push_str(&text);
                    result.push('\n');
                }
            }
            "" if is_output => {
                is_output = false;
                result.push('\n');
            }
            _ if is_output => {}
            _ => {
                result.push_str(line);
                result.push('\n');
                if !line.is_empty() && !line.starts_with('#') {
                    captured.push(script.command(line));
                }
            }
        }
    }
    assert!(captured.is_empty(), "the last block has no dashed line");
    result
}

#[test]
fn every_fleet_script_gives_what_it_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/fleet");
    let is_update = std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some();
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= 15, "only {} scripts in {}", paths.len(), dir.display());
    let mut differing = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let actual =
            std::panic::catch_unwind(|| run(&text)).unwrap_or_else(|_| panic!("{} cannot be run", path.display()));
        if actual == text {
            continue;
        }
        if is_update {
            std::fs::write(&path, actual).unwrap();
        } else {
            differing.push(format!("{}:\n{}", path.display(), first_difference(&text, &actual)));
        }
    }
    assert!(differing.is_empty(), "PORTUNUS_UPDATE_GOLDEN=1 refreshes\n{}", differing.join("\n"));
}

fn first_difference(expected: &str, actual: &str) -> String {
    let (mut expected_lines, mut actual_lines) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (expected_lines.next(), actual_lines.next()) {
            (None, None) => break,
            (before, now) if before == now => {}
            (before, now) => {
                return format!("  line {number}\n  - {}\n  + {}", before.unwrap_or_default(), now.unwrap_or_default());
            }
        }
    }
    "  the ends of the files".to_owned()
}
