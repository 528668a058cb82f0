//! What is called pure is pure: no clock, file, socket, process, environment or task in it. I/O: reads the sources.

use crate::source::{code, production, std_modules, words};
use crate::workspace::{WorkFile, assert_none, files};

/// Sources that know no I/O.
const PURE: [&str; 3] = ["schema/src/", "reconciler/src/decide/", "edge/src/decide/"];

/// Sources that must not know the folder `act` beside them.
const DECIDING: [&str; 2] = ["reconciler/src/decide/", "edge/src/decide/"];

/// Modules of the standard library that do I/O.
const STD: [&str; 5] = ["fs", "process", "env", "thread", "os"];

/// Names that stand for I/O, a clock or a source of chance wherever they come from.
const NAMES: [&str; 24] = [
    "tokio",
    "tokio_util",
    "tokio_stream",
    "mio",
    "socket2",
    "rustix",
    "notify",
    "gix",
    "redb",
    "axum",
    "tonic",
    "reqwest",
    "getrandom",
    "tracing",
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "UnixDatagram",
    "ToSocketAddrs",
    "File",
];

const PRINTING: [&str; 5] = ["println", "print", "eprintln", "eprint", "dbg"];

/// The production code of the files below these folders; tests may read golden files and say what they skip.
fn sources<'p>(below: &'p [&str]) -> impl Iterator<Item = (&'static WorkFile, String)> + 'p {
    files()
        .iter()
        .filter(|file| file.is_rust() && !file.is_test() && below.iter().any(|prefix| file.path.starts_with(prefix)))
        .map(|file| (file, production(&code(file.text())).to_owned()))
}

#[test]
fn schema_and_decide_are_pure() {
    let mut findings = Vec::new();
    let mut seen = [0; PURE.len()];
    for (file, code) in sources(&PURE) {
        seen[PURE.iter().position(|prefix| file.path.starts_with(prefix)).expect("filtered by it")] += 1;
        for (line, word) in words(&code).filter(|(_, word)| NAMES.contains(word)) {
            findings.push(format!("{}:{line} names {word}", file.path));
        }
        for (line, module) in std_modules(&code).iter().filter(|(_, module)| STD.contains(&module.as_str())) {
            findings.push(format!("{}:{line} uses std::{module}", file.path));
        }
        for call in ["Timestamp::now", "Zoned::now"] {
            findings.extend(code.contains(call).then(|| format!("{} asks {call}", file.path)));
        }
    }
    assert_none("pure code does I/O", &findings);
    assert!(seen.iter().all(|count| *count > 5), "the folders are where they were: {seen:?}");
}

#[test]
fn deciding_does_not_know_acting() {
    let mut findings = Vec::new();
    for (file, code) in sources(&DECIDING) {
        for path in ["crate::act", "super::act"] {
            findings.extend(code.contains(path).then(|| format!("{} uses {path}", file.path)));
        }
        let in_group = code.match_indices("use crate::{").any(|(at, _)| {
            let group = code[at..].split(';').next().unwrap_or_default();
            words(group).any(|(_, word)| word == "act")
        });
        findings.extend(in_group.then(|| format!("{} uses crate::act", file.path)));
    }
    assert_none("`decide` uses `act`", &findings);
}

#[test]
fn only_the_tool_prints() {
    let mut findings = Vec::new();
    for (file, code) in sources(&["schema/src/", "reconciler/src/", "reconciler/guard/src/", "edge/src/"]) {
        for name in PRINTING {
            let call = format!("{name}!");
            let is_called = |(at, _): (usize, &str)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            findings.extend(code.match_indices(&call).any(is_called).then(|| format!("{} calls {call}", file.path)));
        }
    }
    assert_none("a library prints", &findings);
}
