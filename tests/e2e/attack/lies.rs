//! Edges that say what no edge says.

use std::time::Duration;

use edge::act::joining::channel_of_member;
use schema::name::EdgeName;
use schema::proto::{self, edge_message};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::arena::Place;
use super::dice::Dice;

/// How long one of them stays.
const STAY: Duration = Duration::from_millis(150);

/// One session of a liar; how many messages it got rid of.
pub(super) fn lie(place: &Place, dice: &mut Dice) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(async { timeout(Duration::from_secs(5), session(place, dice)).await });
    told.ok().flatten().unwrap_or_default()
}

async fn session(place: &Place, dice: &mut Dice) -> Option<u64> {
    // A liar has joined, and lies from then on.
    let channel = channel_of_member(EdgeName::new(LIAR).ok()?, place.liar.clone(), None).await.ok()?;
    let (outgoing, messages) = mpsc::channel(4);
    let first = hello(dice);
    outgoing.send(message(edge_message::Body::Hello(first))).await.ok()?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.ok()?;
    let path = http::uri::PathAndQuery::from_static("/portunus.v1.EdgeControl/Session");
    let codec: tonic_prost::ProstCodec<proto::EdgeMessage, proto::ServerMessage> = tonic_prost::ProstCodec::default();
    let request = tonic::Request::new(ReceiverStream::new(messages));
    let mut told = 1;
    let Ok(Ok(answer)) = timeout(STAY, client.streaming(request, path, codec)).await else { return Some(told) };
    let mut answer = answer.into_inner();
    for _ in 0..20 {
        let next = message(body(dice));
        if timeout(STAY, outgoing.send(next)).await.is_ok_and(|sent| sent.is_err()) {
            break;
        }
        told += 1;
        // A session that was ended shows here; one that has nothing to say lives on.
        if matches!(timeout(STAY / 30, answer.message()).await, Ok(Err(_) | Ok(None))) {
            break;
        }
    }
    Some(told)
}

fn message(body: edge_message::Body) -> proto::EdgeMessage {
    proto::EdgeMessage { body: Some(body) }
}

/// The name that it has a certificate for.
pub(super) const LIAR: &str = "liar";

/// Its own name, those of edges that exist, of edges that do not, and of nothing.
fn name(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => "real".to_owned(),
        1 => String::new(),
        2 => "x".repeat(100_000),
        3 => "../../etc".to_owned(),
        4 => format!("liar-{}", dice.below(1_000_000)),
        _ => LIAR.to_owned(),
    }
}

fn text(dice: &mut Dice) -> String {
    let length = *dice.pick(&[0, 3, 3, 64, 65, 4096, 4097, 1 << 18]);
    let letters = *dice.pick(&["x", "ß", "\u{1b}[31m", "\n"]);
    letters.repeat(length)
}

fn number(dice: &mut Dice) -> u64 {
    *dice.pick(&[0, 1, 1 << 62, (1 << 62) + 1, u64::MAX - 1, u64::MAX])
}

fn hello(dice: &mut Dice) -> proto::Hello {
    let is_plain = dice.below(2) == 0;
    let words = |dice: &mut Dice| -> Vec<String> {
        if is_plain { vec!["tcp".to_owned()] } else { (0..dice.below(200)).map(|_| text(dice)).take(8).collect() }
    };
    proto::Hello {
        edge: name(dice),
        version: if is_plain { "1".to_owned() } else { text(dice) },
        capabilities: words(dice),
        features: words(dice),
        limits: Some(proto::Limits {
            ports_per_range: number(dice) as u32,
            file_descriptors: number(dice),
            rules: number(dice) as u32,
        }),
        report: Some(report(dice)),
        ephemeral_ports: (0..dice.below(3000)).map(|_| proto::Ports { first: 1, last: u32::MAX }).collect(),
        ..proto::Hello::default()
    }
}

fn report(dice: &mut Dice) -> proto::Report {
    // Most are small: making a large one takes the liar longer than the server takes to refuse it.
    let count = *dice.pick(&[0, 1, 1, 1, 1, 1, 100, 100, 10_001, 60_000]);
    let is_short = count > 100;
    let said = |dice: &mut Dice| if is_short { "a".to_owned() } else { text(dice) };
    let rules = (0..count).map(|number| proto::RuleReport {
        rule: if number == 0 { said(dice) } else { format!("rule-{number}") },
        code: said(dice),
        message: said(dice),
        health: said(dice),
        connections: self::number(dice),
        running: Some(proto::RuleSpec { name: format!("rule-{number}"), ..proto::RuleSpec::default() }),
        ..proto::RuleReport::default()
    });
    let rules = rules.collect();
    proto::Report {
        lineage: if is_short { String::new() } else { text(dice) },
        generation: number(dice),
        answers: number(dice),
        rules,
        ..proto::Report::default()
    }
}

fn body(dice: &mut Dice) -> edge_message::Body {
    match dice.below(4) {
        0 => edge_message::Body::Stats(proto::StatsReport::default()),
        1 => edge_message::Body::Checked(proto::TargetsChecked::default()),
        2 => edge_message::Body::Proven(proto::Proven::default()),
        _ => edge_message::Body::Report(report(dice)),
    }
}
