//! How long the pure parts take, one by one. Nothing but the processor: no file, socket or thread is in it.
//!
//! `cargo bench --bench pure` measures; without `--bench` every function runs once, so that tests stay quick.

#[path = "../plan/tree.rs"]
#[expect(dead_code, reason = "`plan` also writes its fleet to a folder")]
mod tree;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use divan::{Bencher, black_box};
use edge::decide::transition::{Transition, Wanted, settle, transition};
use jiff::Timestamp;
use reconciler::decide::edges::Edges;
use reconciler::decide::plan::{Allowances, PlanDocument, PlanInput, Source, plan};
use reconciler::decide::status::{StatusDocument, edges_of};
use schema::canonical::{Digest, rules_digest};
use schema::check::{Checked, check_tree};
use schema::diff::{ChangeSet, Rules, diff};
use schema::health::{
    ClientSeed, DialOrder, Distance, Request, Rotation, Selection, Standing, TargetSeed, TargetState,
};
use schema::name::RuleName;
use schema::rule::{Balance, LastResort, Rule};
use schema::ruleset::{RuleSet, TreeFiles, rules_only, tree_digest};
use schema::text;
use schema::wire;

use tree::{Fleet, Size};

/// 5,000 rules: a tree that a team of some dozens keeps.
const SIZE: Size = Size { edges: 100, rules_per_edge: 50 };

/// The tree, what it says, and what runs where one rule in a hundred was not changed yet.
struct Scene {
    tree: TreeFiles,
    ruleset: RuleSet,
    status: StatusDocument,
    edges: Edges,
    before: Rules,
    after: Rules,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let Fleet { tree, status } = Fleet::generate(SIZE);
    let ruleset = check(&tree).ruleset.expect("the generated tree is valid");
    let status: StatusDocument = serde_json::from_slice(&status).expect("the generated status is one");
    let edges = edges_of(&status).expect("its rules are valid");
    let (name, rules) = ruleset.edges.first_key_value().expect("it has edges");
    let after = rules_only(rules);
    let running = &edges[name].desired.as_ref().expect("it was sent its rules").rules;
    let before = rules_only(running);
    Scene { tree, ruleset, status, edges, before, after }
});

fn main() {
    LazyLock::force(&SCENE);
    divan::main();
}

fn check(tree: &TreeFiles) -> Checked {
    check_tree(tree, &tree::limits())
}

#[divan::bench]
fn parse_a_tree_of_5000_rules() -> usize {
    let mut found = schema::findings::Findings::new();
    SCENE.tree.files.iter().filter(|file| text::parse(black_box(file), &mut found).is_some()).count()
}

#[divan::bench]
fn validate_a_tree_of_5000_rules() -> Checked {
    check(black_box(&SCENE.tree))
}

#[divan::bench]
fn digest_of_a_tree_of_5000_rules() -> Digest {
    tree_digest(black_box(&SCENE.tree.files))
}

#[divan::bench]
fn plan_5000_rules_on_100_edges() -> PlanDocument {
    let source = Source::unversioned(tree_digest(&[]));
    let plan = plan(&PlanInput {
        ruleset: black_box(&SCENE.ruleset),
        source: &source,
        edges: &SCENE.edges,
        lineage: &SCENE.status.lineage,
        rails: None,
        succession: reconciler::decide::succession::Succession::default(),
        allowances: &Allowances::default(),
        diagnostics: &[],
        now: Timestamp::UNIX_EPOCH,
    });
    plan.into()
}

#[divan::bench]
fn difference_of_50_rules() -> ChangeSet {
    diff(black_box(&SCENE.before), black_box(&SCENE.after))
}

#[divan::bench]
fn digest_of_50_rules() -> Digest {
    rules_digest(black_box(&SCENE.after).values().map(|rule| &**rule))
}

#[divan::bench]
fn fifty_rules_to_the_wire_and_back() -> Vec<Rule> {
    let there = SCENE.after.values().map(|rule| wire::rule_to_wire(rule));
    there.map(|spec| wire::rule_from_wire(&spec).expect("it was a rule")).collect()
}

fn wanted(rules: &Rules) -> BTreeMap<RuleName, Wanted> {
    rules.iter().map(|(name, rule)| (name.clone(), Wanted::Try(rule.clone()))).collect()
}

#[divan::bench]
fn transition_of_50_rules(bencher: Bencher) {
    let wanted = wanted(&SCENE.after);
    bencher.bench(|| -> Transition { transition(black_box(&SCENE.before), black_box(&wanted)) });
}

#[divan::bench]
fn settle_from_nothing_to_50_rules(bencher: Bencher) {
    let plan = transition(&Rules::new(), &wanted(&SCENE.after));
    bencher.bench(|| settle(black_box(&plan), &BTreeMap::new()));
}

const TARGETS: [&str; 8] = ["a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1", "h:1"];

/// Eight targets in two pools, one of them down.
fn selection(balance: Balance) -> Selection {
    let standing = |place: usize| Standing {
        state: if place == 1 { TargetState::Down } else { TargetState::Up },
        priority: (place / 4) as u8,
        weight: 100,
        is_checked: true,
    };
    let targets: Vec<_> = TARGETS.iter().enumerate().map(|(at, name)| (standing(at), TargetSeed::new(name))).collect();
    Selection::new(&targets, balance, LastResort::Top)
}

#[divan::bench(args = [Balance::Failover, Balance::SourceIp, Balance::RoundRobin, Balance::LeastConnections])]
fn order_of_eight_targets(bencher: Bencher, balance: Balance) {
    let selection = selection(balance);
    let client: IpAddr = "192.0.2.77".parse().expect("an address");
    let connections = [3, 1, 4, 1, 5, 9, 2, 6];
    let mut turn = Rotation::default();
    bencher.bench_local(|| -> DialOrder {
        let request =
            &mut Request { client: black_box(client), connections: &connections, turn: &mut turn, trial: None };
        selection.order(request)
    });
}

#[divan::bench]
fn nearest_of_eight_targets(bencher: Bencher) {
    let seeds = TARGETS.map(TargetSeed::new);
    let client: IpAddr = "2001:db8::77".parse().expect("an address");
    bencher.bench(|| {
        let client = ClientSeed::new(black_box(client));
        seeds
            .map(|seed| Distance::new(client, seed, 100))
            .into_iter()
            .reduce(|best, next| if next.is_nearer_than(&best) { next } else { best })
    });
}
