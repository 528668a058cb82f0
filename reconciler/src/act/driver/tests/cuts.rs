//! A server that dies at each of its steps, with its real store on disk: every transaction and every effect of an
//! apply is walked through, and the next server goes on from the copy of the files that the dead one left.
//!
//! Keeps: each edge ends with all of the old rules or all of the new ones, and all of them agree; an apply that was
//! cut off is a line of a ledger that is whole, and can be resumed.
//!
//! Long because a walk needs the server, its edges and what they are to run in one place.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::capability::{Capability, Limits};
use schema::diff::Rules;
use schema::name::{EdgeName, Labels};
use schema::proto::server_message::Body;
use schema::rollout::{Rollout, Wave};
use schema::ruleset::{Placed, RuleSet};
use schema::state::RuleState;
use schema::testing::{rule, wide_rails};
use schema::wire;
use tempfile::TempDir;

use super::*;
use crate::act::state::{self, OpenedState};
use crate::decide::fleet::{EdgeOutcome, Mode, OverrideRequest, Purpose, TreeRead};
use crate::decide::ledger::{Entry, LedgerAction, Verification};
use crate::decide::plan::{Allowances, Source};
use crate::decide::record::{self, LEDGER_PREFIX};
use crate::decide::view::{Confirmation, Hello, Report, RuleView};

const EDGES: [&str; 3] = ["a", "b", "c"];
/// Rounds of answers and clock after which an apply of three edges has long ended.
const ROUNDS: usize = 12;
/// Far above the steps of an apply of three edges, so that a walk that finds no end fails.
const MOST_STEPS: usize = 300;

/// An edge that takes what it is sent, as long as it was decided from where it is.
#[derive(Debug, Clone, Default)]
struct Edge {
    lineage: String,
    generation: u64,
    digest: Digest,
    rules: Rules,
}

impl Edge {
    fn take(&mut self, desired: &proto::DesiredState) {
        let base = desired.base.as_ref().expect("an edge that was heard has a base");
        let is_known = desired.generation == self.generation;
        assert!(desired.generation >= self.generation, "{} after {}", desired.generation, self.generation);
        assert!(
            is_known || base.generation == self.generation,
            "decided from {} at {}",
            base.generation,
            self.generation
        );
        self.lineage.clone_from(&desired.lineage);
        self.generation = desired.generation;
        self.digest = Digest::from_bytes(&desired.digest).expect("a digest");
        let rules = desired.rules.iter().map(|spec| wire::rule_from_wire(spec).expect("a valid rule"));
        self.rules = rules.map(|rule| (rule.name.clone(), Arc::new(rule))).collect();
    }

    fn report(&self, answers: u64) -> Report {
        let view = |rule: &Arc<schema::rule::Rule>| RuleView {
            state: RuleState::Active,
            code: String::new(),
            message: String::new(),
            running: Some(Arc::clone(rule)),
            wanted: None,
            connections: 0,
            live: None,
            health: None,
            targets: Vec::new(),
            flow_limit: None,
        };
        Report {
            lineage: self.lineage.clone(),
            generation: self.generation,
            desired_digest: self.digest,
            running_digest: self.digest,
            rules: self.rules.iter().map(|(name, rule)| (name.clone(), view(rule))).collect(),
            refused: None,
            answers,
            confirmation: Confirmation::None,
            ended: BTreeMap::new(),
        }
    }
}

/// A session and what the server sends into it.
type Messages = (SessionId, mpsc::Receiver<proto::ServerMessage>);

/// What is walked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// All edges at once.
    Plain,
    /// One edge after the other.
    Waves,
    /// All edges at once, and the tree takes a break-glass rule of the first one over.
    TakesOver,
}

fn edge_name(name: &str) -> EdgeName {
    EdgeName::new(name).expect("an edge's name")
}

/// Two rules on each edge, all of one version.
fn tree(version: u16, is_in_waves: bool, has_glass: bool) -> TreeRead {
    let digest = Digest::of(&[version.to_be_bytes(), [is_in_waves.into(), has_glass.into()]].concat());
    let mut ruleset = RuleSet { digest, ..RuleSet::default() };
    for name in EDGES {
        let first = 8000 + 100 * version;
        let mut rules = vec![rule("web", first, first), rule("api", first + 2, first + 2)];
        if has_glass && name == EDGES[0] {
            rules.push(rule("glass", 9000, 9000));
        }
        let placed = rules.into_iter().map(|rule| (rule.name.clone(), Placed { rule, origin: None }));
        ruleset.edges.insert(edge_name(name), placed.collect());
        ruleset.inventory.insert(edge_name(name), Labels::from([("stage".to_owned(), name.to_owned())]));
    }
    ruleset.rails = wide_rails();
    if is_in_waves {
        let wave = |name: &str| Wave {
            edge_labels: Labels::from([("stage".to_owned(), name.to_owned())]),
            max_parallel: NonZeroU32::MIN,
            max_failed: 0,
            soak: Duration::from_secs(1),
        };
        ruleset.rollout = Rollout { waves: EDGES.map(wave).into() };
    }
    TreeRead {
        source: Source { vcs: "git".to_owned(), commit: Some("c0ffee".to_owned()), ..Source::unversioned(digest) },
        ruleset: Some(Arc::new(ruleset)),
        diagnostics: Vec::new(),
        files: Arc::new([]),
        ancestry: None,
    }
}

fn rules_of(tree: &TreeRead, edge: &EdgeName) -> Rules {
    schema::ruleset::rules_only(&tree.ruleset.as_ref().expect("valid").edges[edge])
}

/// A server that can die, and its edges.
struct Scene {
    dir: TempDir,
    driver: Driver,
    sessions: SessionId,
    edges: BTreeMap<EdgeName, (Edge, Option<Messages>)>,
    now: Timestamp,
    /// The steps that it may still take, where they are counted.
    left: Option<usize>,
}

fn start(dir: &Path) -> Driver {
    let OpenedState { store, lineage, restored, .. } = state::open(dir).expect("a state");
    assert_eq!(restored.ledger_break, None, "the ledger is whole");
    let fleet = Fleet::new(lineage, Mode::Heal, false, restored);
    Driver::new(fleet, Arc::new(store), Timings::new().expect("metrics")).0
}

/// The files as a server that dies now leaves them.
fn copied(from: &Path) -> TempDir {
    let copy = TempDir::new().expect("a folder");
    crate::act::private_file::ensure_private_dir(&copy.path().join("state")).expect("a private folder");
    for file in std::fs::read_dir(from.join("state")).expect("a state") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.path().join("state").join(file.file_name())).expect("a copy");
    }
    copy
}

impl Scene {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let driver = start(&dir.path().join("state"));
        let edges = EDGES.map(|name| (edge_name(name), (Edge::default(), None))).into();
        Self { dir, driver, sessions: 0, edges, now: Timestamp::UNIX_EPOCH, left: None }
    }

    /// The same edges, and a server that starts from a copy of the files.
    fn restarted(&self) -> Self {
        let dir = copied(self.dir.path());
        let driver = start(&dir.path().join("state"));
        let edges = self.edges.iter().map(|(name, (edge, _))| (name.clone(), (edge.clone(), None))).collect();
        Self { dir, driver, sessions: self.sessions, edges, now: self.now, left: None }
    }

    fn is_dead(&self) -> bool {
        self.left == Some(0)
    }

    /// One event, as far as the server lives.
    async fn step(&mut self, event: Event) {
        if self.is_dead() {
            return;
        }
        let effects = self.driver.fleet.step(event, self.now);
        self.driver.backlog.extend(effects);
        while !self.is_dead() && self.driver.carry_on().await {
            self.left = self.left.map(|left| left - 1);
        }
        assert_eq!(self.driver.disk_error, None);
    }

    async fn hello(&mut self) {
        for name in EDGES.map(edge_name) {
            self.sessions += 1;
            let (outgoing, messages) = mpsc::channel(64);
            let channel = SessionChannel::new(outgoing, CancellationToken::new().drop_guard());
            self.driver.sessions.insert(self.sessions, channel);
            let (edge, session) = self.edges.get_mut(&name).expect("made at the start");
            *session = Some((self.sessions, messages));
            let hello = Hello {
                version: "test".to_owned(),
                capabilities: Capability::ALL.iter().copied().collect(),
                limits: Limits::default(),
                own_listeners: Vec::new(),
                features: [].into(),
                ephemeral_ports: schema::net::PortSet::default(),
                host: String::new(),
                policy: None,
            };
            let event = Event::Hello { session: self.sessions, edge: name.clone(), hello, report: edge.report(0) };
            self.step(event).await;
        }
    }

    /// Edges take what was sent to them; who was sent something.
    fn take(&mut self) -> Vec<(EdgeName, SessionId)> {
        let mut took = Vec::new();
        for (name, (edge, session)) in &mut self.edges {
            let Some((session, messages)) = session else { continue };
            while let Ok(message) = messages.try_recv() {
                if let Some(Body::Desired(desired)) = message.body {
                    edge.take(&desired);
                    took.push((name.clone(), *session));
                }
            }
        }
        took
    }

    /// Answers and clock, until nothing is left to do or the server is dead.
    async fn settle(&mut self) {
        for _ in 0..ROUNDS {
            if self.is_dead() {
                return;
            }
            for (edge, session) in self.take() {
                let generation = self.edges[&edge].0.generation;
                let report = self.edges[&edge].0.report(generation);
                self.step(Event::Report { session, edge, report }).await;
            }
            self.now = self.now.checked_add(Duration::from_secs(1)).expect("a time");
            self.step(Event::Tick).await;
        }
    }

    /// Asks for an apply; what the operator is told, if anything.
    async fn ask(&mut self, purpose: Purpose, tree: &TreeRead) -> Option<ApplyResult> {
        let request = ApplyRequest {
            purpose,
            tree: tree.clone(),
            plan: None,
            seal: None,
            allowances: Allowances::default(),
            actor: "ada".to_owned(),
            authority: None,
            applied_by: None,
            timeout: Duration::from_secs(10),
            allow_offline: false,
            rollback: false,
            wait_healthy: false,
            confirm_within: None,
            quiet_window: Duration::ZERO,
        };
        let (reply, mut told) = oneshot::channel();
        let ticket = self.driver.ticket(Waiter::Apply(reply));
        self.step(Event::Apply { ticket, request: Box::new(request) }).await;
        self.settle().await;
        told.try_recv().ok().map(|told| told.expect("nothing refuses it"))
    }

    async fn add_override(&mut self) {
        let request = OverrideRequest::Add {
            edge: edge_name(EDGES[0]),
            rule: rule("glass", 9000, 9000),
            why: "the pager rang".to_owned(),
            ttl: Duration::from_hours(1),
            actor: "ada".to_owned(),
        };
        let request = Box::new(Request::Override(request));
        self.step(Event::Request { ticket: 0, authority: None, request }).await;
        self.settle().await;
    }

    fn ledger(&self) -> Vec<Entry> {
        let records = self.driver.store.list(LEDGER_PREFIX).expect("readable");
        let lines = record::ledger(records.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())));
        lines.expect("our own lines")
    }

    fn assert_ledger_is_whole(&self) {
        let found = Verification::of(&self.ledger(), Some(self.driver.fleet.ledger_head()));
        assert_eq!(found.broken, None, "{found:?}");
    }

    /// Which edges run exactly this tree.
    fn running(&self, tree: &TreeRead) -> Vec<bool> {
        self.edges.iter().map(|(name, (edge, _))| edge.rules == rules_of(tree, name)).collect()
    }
}

/// A fleet that runs the old tree, for a story.
async fn before(story: Story, old: &TreeRead) -> Scene {
    let mut scene = Scene::new();
    scene.hello().await;
    scene.ask(Purpose::Apply, old).await.expect("applied");
    if story == Story::TakesOver {
        scene.add_override().await;
    }
    scene.settle().await;
    scene
}

/// The server dies after so many steps of an apply, with what it had sent on its way or taken. False if it was through
/// before that.
async fn cut(story: Story, scene: &Scene, steps: usize, is_taken: bool) -> bool {
    let (old, new) = (tree(1, false, false), tree(2, story == Story::Waves, story == Story::TakesOver));
    let mut dying = scene.restarted();
    dying.hello().await;
    dying.settle().await;
    let lines = dying.ledger().len();
    dying.left = Some(steps);
    let told = dying.ask(Purpose::Apply, &new).await;
    if !dying.is_dead() {
        assert!(dying.running(&new).iter().all(|is_new| *is_new), "through, and not everywhere");
        return false;
    }
    if is_taken {
        dying.take();
    }

    let mut next = dying.restarted();
    let written = &next.ledger()[lines..];
    let is_begun = written.iter().any(|line| line.is_start() && line.digest == new.source.digest);
    let is_ended = written.iter().any(|line| line.of.is_some() && line.digest == new.source.digest);
    assert!(is_begun || told.is_none(), "what was promised is forgotten");
    next.step(Event::Tick).await;
    next.assert_ledger_is_whole();
    if is_begun && !is_ended {
        let latest = next.driver.fleet.latest_apply().expect("a cut off apply is visible");
        assert_eq!((latest.outcome, latest.digest), (Outcome::Interrupted, new.source.digest));
        let last = next.ledger().pop().expect("a line");
        assert_eq!((last.outcome.as_str(), last.action), ("interrupted", LedgerAction::Apply));
    }
    next.hello().await;
    next.settle().await;
    let (are_old, are_new) = (next.running(&old), next.running(&new));
    let is_glass_only = |edge: usize| {
        let (edge, _) = &next.edges[&edge_name(EDGES[edge])];
        story == Story::TakesOver && edge.rules.len() == 3 && !is_begun
    };
    for edge in 0..EDGES.len() {
        let is_whole = are_old[edge] || are_new[edge] || is_glass_only(edge);
        assert!(is_whole, "{} is between: {:?}", EDGES[edge], next.edges);
        assert!(is_begun || !are_new[edge], "{} has what was never begun", EDGES[edge]);
        // A wave that was not reached waits for whoever resumes; the others complete what was begun.
        assert!(!is_begun || story == Story::Waves || are_new[edge], "{} was left behind", EDGES[edge]);
        assert!(edge == 0 || !are_new[edge] || are_new[edge - 1], "a later wave came first");
    }

    let purpose = if is_begun { Purpose::Resume { why: String::new() } } else { Purpose::Apply };
    let told = next.ask(purpose, &new).await.expect("answered");
    let result = next.driver.fleet.apply_result(&told.id).expect("kept");
    assert_eq!(result.outcome, Outcome::Applied, "{result:?}");
    assert!(result.edges.iter().all(|edge| edge.outcome == EdgeOutcome::Done), "{result:?}");
    assert!(next.running(&new).iter().all(|is_new| *is_new), "resumed, and not everywhere");
    next.assert_ledger_is_whole();
    next.restarted().assert_ledger_is_whole();
    true
}

async fn walk(story: Story) -> usize {
    let scene = before(story, &tree(1, false, false)).await;
    for steps in 0..MOST_STEPS {
        for is_taken in [false, true] {
            if !cut(story, &scene, steps, is_taken).await {
                return steps;
            }
        }
    }
    panic!("an apply of three edges takes more than {MOST_STEPS} steps");
}

#[tokio::test]
async fn a_server_that_dies_at_any_step_of_an_apply_leaves_old_or_new() {
    let steps = Box::pin(walk(Story::Plain)).await;
    assert!(steps > 10, "records, three sends, three answers and an end are more than {steps} steps");
}

#[tokio::test]
async fn a_server_that_dies_at_any_step_of_a_rollout_leaves_old_or_new_edges_in_the_order_of_waves() {
    let steps = Box::pin(walk(Story::Waves)).await;
    assert!(steps > 15, "three waves are more than {steps} steps");
}

#[tokio::test]
async fn a_server_that_dies_while_a_tree_takes_an_override_over_leaves_old_or_new() {
    let steps = Box::pin(walk(Story::TakesOver)).await;
    assert!(steps > 10, "an apply of three edges is more than {steps} steps");
}
