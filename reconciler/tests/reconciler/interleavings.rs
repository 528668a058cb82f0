//! The invariants of the fleet over any order of what can happen to it. The world panics where one is broken on the
//! way; at the end, a few fair steps must lead to what was applied last. Cases that failed are printed by proptest.
//!
//! Long because the strategies, the steps and the invariants are read together.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use reconciler::decide::assign::assign;
use reconciler::decide::fleet::{ApplyRequest, Effect, Event, Mode, Purpose, Refusal, TreeRead};
use reconciler::decide::plan::{AllowFlag, Allowances};
use schema::canonical::Digest;
use schema::capability::Capability;
use schema::name::EdgeName;
use schema::ruleset::{EdgeRules, rules_only};
use schema::testing::wide_rails;

use crate::script::{edge_name, read, ruleset};
use crate::world::World;

const EDGES: [&str; 3] = ["a", "b", "c"];
/// What an edge may be told. Ports clash and ranges slide, so that a rule that fails or is rejected blocks others.
const SETS: [&str; 6] = [
    "",
    "web 8080",
    "web 8080, api 8081",
    "web 8081, api 8080",
    "site 8080, r 9000-9004",
    "web 8082, r 9002-9008, api 8080",
];
/// A state is sent, answered, and perhaps decided anew from the answer: no edge needs more rounds than that.
const FAIR_ROUNDS: usize = 8;

#[derive(Debug, Clone)]
enum Step {
    /// A tree, by the set of each edge; the mode says who brings it.
    Tree {
        sets: [usize; 3],
        /// An operator asks for confirmations.
        is_on_trial: bool,
    },
    Hear(usize),
    WindowEnds(usize),
    BrokenTree,
    Hello(usize),
    SecondHello(usize),
    Deliver {
        edge: usize,
        is_answer_lost: bool,
    },
    Report(usize),
    RepeatReport {
        edge: usize,
        age: usize,
    },
    ReportOfSession {
        edge: usize,
        session: u64,
    },
    Gone(usize),
    RestartEdge {
        edge: usize,
        is_disk_lost: bool,
    },
    Refuse(usize),
    Taken {
        edge: usize,
        port: u16,
        is_taken: bool,
    },
    PortRange {
        edge: usize,
        has: bool,
    },
    RestartServer,
    DiesAfter(usize),
    LoseState,
    Tick(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edge = 0..EDGES.len();
    let port = prop_oneof![Just(8080_u16), Just(8081), Just(9003), Just(9007)];
    let step = prop_oneof![
        6 => ([0..SETS.len(), 0..SETS.len(), 0..SETS.len()], prop::bool::weighted(0.3))
            .prop_map(|(sets, is_on_trial)| Step::Tree { sets, is_on_trial }),
        3 => edge.clone().prop_map(Step::Hear),
        2 => edge.clone().prop_map(Step::WindowEnds),
        1 => Just(Step::BrokenTree),
        8 => edge.clone().prop_map(Step::Hello),
        1 => edge.clone().prop_map(Step::SecondHello),
        12 => (edge.clone(), prop::bool::weighted(0.3))
            .prop_map(|(edge, is_answer_lost)| Step::Deliver { edge, is_answer_lost }),
        3 => edge.clone().prop_map(Step::Report),
        3 => (edge.clone(), 0_usize..6).prop_map(|(edge, age)| Step::RepeatReport { edge, age }),
        1 => (edge.clone(), 1_u64..9).prop_map(|(edge, session)| Step::ReportOfSession { edge, session }),
        3 => edge.clone().prop_map(Step::Gone),
        2 => (edge.clone(), any::<bool>()).prop_map(|(edge, is_disk_lost)| Step::RestartEdge { edge, is_disk_lost }),
        1 => edge.clone().prop_map(Step::Refuse),
        2 => (edge.clone(), port, any::<bool>())
            .prop_map(|(edge, port, is_taken)| Step::Taken { edge, port, is_taken }),
        2 => (edge, any::<bool>()).prop_map(|(edge, has)| Step::PortRange { edge, has }),
        2 => Just(Step::RestartServer),
        2 => (0_usize..12).prop_map(Step::DiesAfter),
        1 => Just(Step::LoseState),
        1 => (1_u64..100).prop_map(Step::Tick),
    ];
    vec(step, 1..60)
}

/// A tree whose rails allow everything but to empty an edge, which no tree may ask for by itself.
fn tree(sets: [usize; 3]) -> TreeRead {
    let edges: Vec<String> = EDGES
        .iter()
        .zip(sets)
        .filter(|(_, set)| *set > 0)
        .map(|(edge, set)| format!("{edge}: {}", SETS[set]))
        .collect();
    let text = edges.join(" | ");
    let digest = Digest::of(text.as_bytes());
    let mut ruleset = ruleset(digest, &text);
    ruleset.rails = wide_rails();
    read(ruleset)
}

/// Everything that one run needs to know.
struct Run {
    world: World,
    mode: Mode,
    /// The tree that was brought last.
    tree: TreeRead,
    /// How the next tree is brought.
    confirm_within: Option<Duration>,
}

impl Run {
    fn new(mode: Mode) -> Self {
        let mut run = Self { world: World::new(mode, false), mode, tree: tree([1, 1, 1]), confirm_within: None };
        run.bring();
        run
    }

    /// The tree is read or applied, by mode. A person who is told which flag it takes gives it.
    fn bring(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.mode == Mode::Apply {
            effects.extend(self.world.step(Event::Tree(self.tree.clone())));
        }
        if self.mode != Mode::Apply || self.waits_for_a_person() {
            let request = ApplyRequest {
                purpose: Purpose::Apply,
                allowances: self.allowances(),
                tree: self.tree.clone(),
                plan: None,
                seal: None,
                actor: "operator".to_owned(),
                authority: None,
                applied_by: None,
                timeout: Duration::from_secs(10),
                allow_offline: true,
                rollback: false,
                wait_healthy: false,
                confirm_within: self.confirm_within,
                quiet_window: Duration::ZERO,
            };
            effects.extend(self.world.step(Event::Apply { ticket: 1, request: Box::new(request) }));
        }
        effects
    }

    fn waits_for_a_person(&self) -> bool {
        use reconciler::decide::fleet::Verdict::{Railed, Stopped};
        let verdict = self.world.fleet.attempt().map(|attempt| &attempt.verdict);
        matches!(verdict, Some(Railed { .. } | Stopped { .. }))
    }

    fn allowances(&self) -> Allowances {
        let document = self.world.plan(&self.tree);
        let removals = document.rails.iter().find_map(|rail| match rail.allow {
            Some(AllowFlag::Removals(count)) => Some(count),
            _ => None,
        });
        Allowances { removals, empty: true, ..Allowances::default() }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of step")]
    fn take(&mut self, step: &Step) {
        let name = |edge: usize| edge_name(EDGES[edge]);
        match *step {
            Step::Tree { sets, is_on_trial } => {
                self.tree = tree(sets);
                self.confirm_within = is_on_trial.then_some(Duration::from_secs(20));
                self.bring();
                self.confirm_within = None;
            }
            Step::Hear(edge) => {
                self.world.hear(&name(edge));
            }
            Step::WindowEnds(edge) => {
                self.world.window_ends(&name(edge));
            }
            Step::BrokenTree => {
                let mut broken = tree([0, 0, 0]);
                broken.ruleset = None;
                self.world.step(Event::Tree(broken));
            }
            Step::Hello(edge) => {
                self.world.gone(&name(edge));
                self.world.hello(&name(edge));
            }
            Step::SecondHello(edge) => {
                if self.world.link(&name(edge)).session.is_some() {
                    self.world.second_hello(&name(edge));
                }
            }
            Step::Deliver { edge, is_answer_lost } => {
                let is_willing = !self.world.link(&name(edge)).edge.refuses_next;
                let is_delivered = self.world.deliver(&name(edge), is_answer_lost).is_some();
                if is_delivered && !is_willing {
                    // An edge that cannot read what it is sent reports it and ends the session.
                    self.world.gone(&name(edge));
                }
            }
            Step::Report(edge) => {
                self.world.report(&name(edge));
            }
            Step::RepeatReport { edge, age } => {
                self.world.repeat_report(&name(edge), age);
            }
            Step::ReportOfSession { edge, session } => {
                if self.world.link(&name(edge)).session != Some(session) {
                    self.world.report_of_session(&name(edge), session);
                }
            }
            Step::Gone(edge) => {
                self.world.gone(&name(edge));
            }
            Step::RestartEdge { edge, is_disk_lost } => {
                self.world.restart_edge(&name(edge), is_disk_lost);
            }
            Step::Refuse(edge) => self.world.link(&name(edge)).edge.refuses_next = true,
            Step::Taken { edge, port, is_taken } => self.world.link(&name(edge)).edge.set_taken(port, is_taken),
            // Capabilities are part of a hello: an edge that gains or loses one comes anew.
            Step::PortRange { edge, has } => {
                self.world.gone(&name(edge));
                self.world.link(&name(edge)).edge.set_capability(Capability::PortRange, has);
            }
            Step::RestartServer => self.world.restart_server(),
            Step::DiesAfter(count) => self.world.dies_after = Some(count),
            Step::LoseState => self.world.lose_state(),
            Step::Tick(secs) => {
                self.world.tick(Duration::from_secs(secs));
            }
        }
    }

    /// The world becomes kind: every edge connects, everything arrives, applies that wait for nobody run out. False
    /// where the tree asks for nothing but what its edges reject, which is refused.
    fn be_fair(&mut self) -> bool {
        self.world.dies_after = None;
        for edge in EDGES.map(edge_name) {
            let link = self.world.link(&edge);
            link.edge.refuses_next = false;
            if link.session.is_none() {
                self.world.hello(&edge);
            }
            self.world.report(&edge);
        }
        self.world.tick(Duration::from_mins(2));
        let is_rejected = self.bring().iter().any(|effect| match effect {
            Effect::Answer { answer, .. } => matches!(**answer, Err(Refusal::Rejected { .. })),
            _ => false,
        });
        for _ in 0..FAIR_ROUNDS {
            if self.world.in_flight() == 0 {
                break;
            }
            for edge in EDGES.map(edge_name) {
                self.world.deliver(&edge, false);
            }
        }
        // One more word of each, for answers that were lost on the way.
        for edge in EDGES.map(edge_name) {
            self.world.report(&edge);
            self.world.deliver(&edge, false);
            self.world.hear(&edge);
        }
        !is_rejected
    }

    /// What each edge should run: the assignment of the tree, from what the fleet knows of the edge.
    fn wanted(&self) -> BTreeMap<EdgeName, EdgeRules> {
        let ruleset = self.tree.ruleset.as_ref().expect("valid");
        let none = EdgeRules::new();
        let edges = self.world.fleet.edges().iter();
        edges.map(|(name, view)| (name.clone(), assign(view, ruleset.edges.get(name).unwrap_or(&none)).rules)).collect()
    }
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Apply), Just(Mode::Heal), Just(Mode::Plan)]
}

fn config() -> ProptestConfig {
    // Half of what `PROPTEST_CASES` or the default say: each case is a long story.
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases / 2, failure_persistence: None, max_shrink_iters: 20_000, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// DESIGN §6, with 6, 9 and the order of records on the way: see [`World`].
    #[test]
    fn any_interleaving_converges_to_the_tree_that_was_applied_last(mode in modes(), steps in steps()) {
        let mut run = Run::new(mode);
        for step in &steps {
            run.take(step);
        }
        prop_assume!(run.be_fair());
        prop_assert_eq!(run.world.in_flight(), 0, "something is in flight after {} fair rounds", FAIR_ROUNDS);
        let digest = run.tree.source.digest;
        prop_assert_eq!(run.world.fleet.applied().map(|applied| applied.source.digest), Some(digest));
        let wanted = run.wanted();
        for (name, link) in run.world.links() {
            let view = &run.world.fleet.edges()[name];
            prop_assert!(view.connected && view.is_settled(), "{} is not settled: {:#?}", name, view);
            let generation = view.desired.as_ref().map_or(link.edge.generation(), |desired| desired.generation);
            prop_assert_eq!(generation, link.edge.generation());
            let desired = view.desired.as_ref().map(|desired| rules_only(&desired.rules)).unwrap_or_default();
            prop_assert_eq!(&desired, &rules_only(&wanted[name]), "{} is told something else", name);
            for (rule, told) in &desired {
                let report = view.rule(rule).expect("reported");
                prop_assert!(report.state != schema::state::RuleState::Pending);
                let serves = link.edge.running().get(rule) == Some(told);
                prop_assert!(serves || !report.code.is_empty(), "{}/{} does not serve and says nothing", name, rule);
            }
            // What runs on an edge that no tree has named since the state was lost is nobody's to end.
            let is_known = view.desired.is_some() || !wanted[name].is_empty();
            for rule in link.edge.running().keys().filter(|_| is_known) {
                prop_assert!(desired.contains_key(rule), "{}/{} runs and nobody wants it", name, rule);
            }
        }
    }

    /// Invariant 7.
    #[test]
    fn applying_twice_is_applying_once(mode in modes(), steps in steps()) {
        let mut run = Run::new(mode);
        for step in &steps {
            run.take(step);
        }
        run.be_fair();
        let before = run.world.fleet.clone();
        let again = run.bring();
        let is_answer = |effect: &Effect| matches!(effect, Effect::Answer { .. });
        let does_something: Vec<&Effect> = again.iter().filter(|effect| !is_answer(effect)).collect();
        let has_failed_rules = before.edges().values().any(|view| {
            view.report.iter().flat_map(|report| report.rules.values()).any(|rule| !rule.code.is_empty())
        });
        // A rule that failed is planned as a retry, and an apply of that is one more line of the ledger.
        prop_assert!(has_failed_rules || does_something.is_empty(), "{:#?}", does_something);
        for (name, view) in run.world.fleet.edges() {
            prop_assert_eq!(view.desired_generation(), before.edges()[name].desired_generation());
        }
    }

    /// Invariant 4.
    #[test]
    fn bad_input_never_removes_anything(mode in modes(), steps in steps()) {
        let mut run = Run::new(mode);
        for step in &steps {
            run.take(step);
        }
        run.be_fair();
        let serving = |run: &Run| -> Vec<_> {
            run.world.links().map(|(name, link)| (name.clone(), link.edge.running().clone())).collect()
        };
        let before = serving(&run);
        run.take(&Step::BrokenTree);
        let mut empty = tree([0, 0, 0]);
        empty.source.digest = Digest::of(b"empty");
        if before.iter().all(|(_, rules)| !rules.is_empty()) {
            run.world.step(Event::Tree(empty));
        }
        for edge in EDGES.map(edge_name) {
            run.world.deliver(&edge, false);
            run.world.restart_edge(&edge, false);
            run.world.hello(&edge);
            run.world.deliver(&edge, false);
        }
        let after = serving(&run);
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            for rule in before.keys() {
                // The edge itself may have lost a port or a capability; nothing else takes a rule away.
                let excuse = run.world.fleet.edges()[name].rule(rule).is_some_and(|view| !view.code.is_empty());
                prop_assert!(after.contains_key(rule) || excuse, "{}/{} is gone", name, rule);
            }
        }
    }
}

/// Invariant 7, where a server dies while an edge waits for its confirmation, and the edge returns: the next apply
/// takes the tree back in force, and the one after it has nothing to write down.
#[test]
fn a_tree_that_was_not_confirmed_before_its_server_died_is_applied_once() {
    let mut run = Run::new(Mode::Heal);
    let steps = [
        Step::Hello(2),
        Step::Tree { sets: [0, 0, 0], is_on_trial: true },
        Step::Hello(2),
        Step::DiesAfter(0),
        Step::Deliver { edge: 2, is_answer_lost: false },
        Step::WindowEnds(2),
    ];
    for step in &steps {
        run.take(step);
    }
    run.be_fair();
    let again = run.bring();
    let does_something = again.iter().any(|effect| !matches!(effect, Effect::Answer { .. }));
    assert!(!does_something, "{again:#?}");
}

/// The records of an apply are one transaction: it is completed on every edge, or it never began on any.
#[test]
fn a_server_that_dies_at_any_step_of_an_apply_completes_it_or_never_began_it() {
    let mut outcomes = Vec::new();
    for effects_before_death in 0..12 {
        let mut run = Run::new(Mode::Heal);
        run.be_fair();
        run.world.dies_after = Some(effects_before_death);
        run.tree = tree([2, 3, 4]);
        run.bring();
        for edge in EDGES.map(edge_name) {
            run.world.gone(&edge);
            run.world.hello(&edge);
            run.world.deliver(&edge, false);
        }
        let is_new =
            |run: &Run| run.world.fleet.applied().map(|applied| applied.source.digest) == Some(run.tree.source.digest);
        let (old, new) = (tree([1, 1, 1]), run.tree.clone());
        let in_force = if is_new(&run) { new } else { old };
        let wanted = &in_force.ruleset.as_ref().expect("valid").edges;
        for (name, link) in run.world.links() {
            assert_eq!(*link.edge.running(), rules_only(&wanted[name]), "{name} after {effects_before_death}");
        }
        outcomes.push(is_new(&run));
    }
    assert!(outcomes.is_sorted() && outcomes.contains(&false) && outcomes.contains(&true), "{outcomes:?}");
}
