//! What the bounds of messages promise.

use prost::Message;

use super::*;
use crate::proto::{self, edge_message::Body};
use crate::testing::rule;
use crate::wire::rule_to_wire;

fn encoded(body: Body) -> Vec<u8> {
    proto::EdgeMessage { body: Some(body) }.encode_to_vec()
}

fn report(rules: usize, each: &proto::RuleReport) -> Vec<u8> {
    encoded(Body::Report(proto::Report { rules: vec![each.clone(); rules], ..proto::Report::default() }))
}

#[test]
fn what_an_edge_really_says_is_within_the_bounds() {
    let target = proto::TargetReport { history: vec![proto::TargetChange::default(); 5], ..Default::default() };
    let each = proto::RuleReport {
        rule: "web".to_owned(),
        running: Some(rule_to_wire(&rule("web", 80, 80))),
        wanted: Some(rule_to_wire(&rule("web", 80, 81))),
        targets: vec![target; 8],
        ..proto::RuleReport::default()
    };
    assert_eq!(check(&report(100, &each), 100), Ok(()));
    assert_eq!(check(&[], RULES), Ok(()));
}

#[test]
fn a_list_of_empty_entries_is_refused_before_it_is_decoded() {
    let each = proto::RuleReport::default();
    let list = |most| OverBound::List { message: "Report", field: "rules", most };
    assert_eq!(check(&report(RULES, &each), RULES), Ok(()));
    assert_eq!(check(&report(RULES + 1, &each), RULES), Err(list(RULES)));
    assert_eq!(check(&report(RULES + 1, &each), RULES + 1), Ok(()), "the server sent so many");
    let target = proto::TargetReport { history: vec![proto::TargetChange::default(); 50], ..Default::default() };
    let each = proto::RuleReport { targets: vec![target; 64], ..each };
    assert!(matches!(check(&report(10, &each), 10), Err(OverBound::Entries(_))));
    // Two reports in one hello would become one with the rules of both.
    let half = report(RULES, &proto::RuleReport::default());
    assert!(check(&[half.clone(), half].concat(), RULES).is_err());
}

#[test]
fn every_text_has_a_length() {
    let long = |field: &'static str, body| match check(&encoded(body), RULES) {
        Err(OverBound::Text { field: found, .. }) => assert_eq!(found, field),
        other => panic!("{field}: {other:?}"),
    };
    let text = |length: usize| "x".repeat(length);
    long("edge", Body::Hello(proto::Hello { edge: text(65), ..Default::default() }));
    long("version", Body::Hello(proto::Hello { version: text(65), ..Default::default() }));
    long("capabilities", Body::Hello(proto::Hello { capabilities: vec![text(65)], ..Default::default() }));
    long("lineage", Body::Report(proto::Report { lineage: text(65), ..Default::default() }));
    let rule = proto::RuleReport { message: text(SENTENCE + 1), ..Default::default() };
    long("message", Body::Report(proto::Report { rules: vec![rule], ..Default::default() }));
}

#[test]
fn garbage_and_fields_of_other_versions_never_panic() {
    for bytes in [&[0xff][..], &[0x0a, 0xff], &[0x0b], &[0x08; 1], &[0xff; 20], &[0x0a, 0x05, 1, 2]] {
        assert_eq!(check(bytes, RULES), Err(OverBound::Malformed), "{bytes:?}");
    }
    assert_eq!(check(&[0xfa, 0x3f, 0x02, 1, 2, 0x80, 0x40, 7], RULES), Ok(()), "fields 1023 and 1024");
}

/// The fields of each message of the protocol, from its source.
fn declared(name: &str) -> Vec<String> {
    let source = include_str!("../../proto/portunus/v1/edge.proto");
    let (_, after) = source.split_once(&format!("\nmessage {name} {{\n")).expect("the protocol has it");
    let body = after.split("\n}\n").next().expect("it ends");
    let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
    let fields = lines.filter_map(|line| {
        let (before, number) = line.trim().trim_end_matches(';').split_once(" = ")?;
        Some((number.parse::<usize>().expect("a number"), before.rsplit(' ').next()?.to_owned()))
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort();
    assert!(fields.iter().zip(1..).all(|((number, _), place)| *number == place), "{name} has a gap");
    fields.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn every_field_of_the_protocol_has_a_bound() {
    for shape in ALL {
        let bounded: Vec<&str> = shape.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(bounded, declared(shape.name), "{}: add the field to schema/src/bounds.rs", shape.name);
    }
}
