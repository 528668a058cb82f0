//! The lists of the API: what operators send and are shown, and what edges report.

use divan::black_box;
use jiff::Timestamp;
use prost::Message;
use reconciler::act::operator::documents::ValidateRequest;
use reconciler::act::source::from_upload;
use reconciler::decide::drift::drift;
use reconciler::decide::edges::Edges;
use reconciler::decide::ledger::{Entry, Head, Verification};
use reconciler::decide::plan::{Allowances, PlanDocument, PlanInput, Source, plan};
use reconciler::decide::status::target_rows::all_rows;
use reconciler::decide::status::{StatusDocument, edge_status, edges_of};
use reconciler::decide::succession::Succession;
use reconciler::decide::target_totals::TargetTotals;
use schema::check::{CheckLimits, check_tree};
use schema::proto;
use schema::ruleset::{RuleSet, TreeFiles, tree_digest};

use super::Work;
use super::tree::{Fleet, Size};

/// Rules of an edge where rules are what is doubled: both lists grow.
const RULES: usize = 50;

/// A list, and what makes one of so many entries.
type List = (&'static str, fn(usize) -> Work);

pub(crate) const LISTS: &[List] = &[
    ("files of an upload", files),
    ("rules of an upload", rules),
    ("rules of a saved status", status),
    ("edges of a status", shown),
    ("changes of a plan, all new", new),
    ("changes of a plan, one in a hundred", few),
    ("drift", drifts),
    ("rows of targets", targets),
    ("lines of the ledger", ledger),
    ("rules of a report", report),
    ("a control: a status, copied", copied),
];

fn fleet(count: usize) -> (RuleSet, StatusDocument) {
    let Fleet { tree, status } = Fleet::generate(Size { edges: count / RULES, rules_per_edge: RULES });
    let ruleset = check_tree(&tree, &CheckLimits::default()).ruleset.expect("the generated tree is valid");
    (ruleset, serde_json::from_slice(&status).expect("the generated status is one"))
}

fn upload(body: String) -> Work {
    Box::new(move || {
        let request: ValidateRequest = serde_json::from_str(black_box(&body)).expect("a request");
        let files = request.files.into_iter().map(|file| (file.path, file.text)).collect();
        let tree = from_upload(files).expect("its labels are good");
        black_box(tree_digest(&tree.sources()));
        let tree = TreeFiles { files: tree.sources(), problems: tree.diagnostics };
        black_box(check_tree(&tree, &CheckLimits::default()));
    })
}

fn files(count: usize) -> Work {
    let files: Vec<_> = (0..count)
        .map(|number| {
            let name = format!("r{number}");
            let port = number % 60_000 + 1;
            let text = format!(
                "[[rule]]\nname = \"{name}\"\nedges = [\"e{}\"]\nlisten_port = {port}\ntarget = \"h:1\"\n",
                number / 60_000
            );
            serde_json::json!({ "path": format!("{name}.toml"), "text": text })
        })
        .collect();
    upload(serde_json::json!({ "files": files }).to_string())
}

fn rules(count: usize) -> Work {
    let Fleet { tree, .. } = Fleet::generate(Size { edges: count / RULES, rules_per_edge: RULES });
    let files: Vec<_> =
        tree.files.iter().map(|file| serde_json::json!({ "path": &*file.path, "text": &*file.text })).collect();
    upload(serde_json::json!({ "files": files }).to_string())
}

fn status(count: usize) -> Work {
    let Fleet { status, .. } = Fleet::generate(Size { edges: count / RULES, rules_per_edge: RULES });
    Box::new(move || {
        let document: StatusDocument = serde_json::from_slice(black_box(&status)).expect("a status");
        black_box(edges_of(&document).expect("its rules are valid"));
    })
}

fn shown(count: usize) -> Work {
    let edges = edges_of(&fleet(count).1).expect("its rules are valid");
    Box::new(move || {
        let edges = edges.iter().map(|(name, edge)| edge_status(name, edge, Timestamp::UNIX_EPOCH)).collect();
        let document = StatusDocument { edges, ..StatusDocument::default() };
        black_box(serde_json::to_vec(&document).expect("a status is JSON"));
    })
}

fn planned(ruleset: &RuleSet, edges: &Edges) -> PlanDocument {
    let plan = plan(&PlanInput {
        ruleset: black_box(ruleset),
        source: &Source::unversioned(tree_digest(&[])),
        edges,
        lineage: "bench",
        rails: None,
        succession: Succession::default(),
        allowances: &Allowances::default(),
        diagnostics: &[],
        now: Timestamp::UNIX_EPOCH,
    });
    plan.into()
}

fn new(count: usize) -> Work {
    let ruleset = fleet(count).0;
    Box::new(move || {
        let document = planned(&ruleset, &Edges::new());
        black_box(serde_json::to_vec(&document).expect("a plan is JSON"));
    })
}

fn few(count: usize) -> Work {
    let (ruleset, status) = fleet(count);
    let edges = edges_of(&status).expect("its rules are valid");
    Box::new(move || drop(black_box(planned(&ruleset, &edges))))
}

fn drifts(count: usize) -> Work {
    let mut edges = edges_of(&fleet(count).1).expect("its rules are valid");
    for name in edges.keys().cloned().collect::<Vec<_>>() {
        edges.get_or_new(&name).report.iter_mut().for_each(|report| report.rules.clear());
    }
    Box::new(move || drop(black_box(drift(&edges))))
}

/// What every list costs at least: one pass over values of the heap, and as many new ones. Its exponent is that of the
/// caches and of the pages that the kernel provides.
fn copied(count: usize) -> Work {
    let edges = fleet(count).1.edges;
    Box::new(move || drop(black_box(black_box(&edges).clone())))
}

fn targets(count: usize) -> Work {
    let edges = fleet(count).1.edges;
    Box::new(move || {
        let rows = all_rows(black_box(&edges));
        black_box(TargetTotals::of(&rows));
    })
}

fn ledger(count: usize) -> Work {
    let mut head = Head::default();
    let entry = |number: usize| Entry { apply_id: format!("a{number}"), ..Entry::default() };
    let lines: Vec<Entry> = (0..count).map(|number| entry(number).chained(&mut head)).collect();
    Box::new(move || {
        black_box(Verification::of(&lines, Some(head)));
    })
}

fn report(count: usize) -> Work {
    let rule = |number: usize| proto::RuleReport { rule: format!("r{number}"), ..proto::RuleReport::default() };
    let report = proto::Report { rules: (0..count).map(rule).collect(), ..proto::Report::default() };
    let body = Some(proto::edge_message::Body::Report(report));
    let message = proto::EdgeMessage { body }.encode_to_vec();
    Box::new(move || {
        schema::bounds::check(black_box(&message), count).expect("within its bounds");
        black_box(proto::EdgeMessage::decode(&*message).expect("a message"));
    })
}
