//! The whole attack: everything that a peer, a file or a mistake can send, at every port, while a real edge and a real
//! operator are served. It reports what was tried and what that cost.
//!
//! `cargo test --workspace -- --ignored attack` attacks for ten minutes; the short form is one of the ordinary tests.
//! Both print their seed; `PORTUNUS_ATTACK_SEED` repeats one.

mod arena;
mod dice;
mod lies;
mod memory;
mod ports;
mod report;
mod trees;
mod violence;
mod witness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{let_pass, wait_until};
use arena::{Arena, Place};
use dice::Dice;
use report::Report;
use witness::Witness;

/// How long an attack is.
struct Form {
    /// Of each weapon in turn.
    slice: Duration,
    /// Until no further round begins.
    rounds: Duration,
    /// Between the end of it and the last look at what it costs.
    cooling: Duration,
}

const SHORT: Form = Form { slice: Duration::from_millis(900), rounds: Duration::ZERO, cooling: Duration::from_secs(3) };
const LONG: Form =
    Form { slice: Duration::from_secs(8), rounds: Duration::from_secs(500), cooling: Duration::from_mins(1) };

/// One way to attack: its name, threads that do it at a time, and one try, which says how often something was tried.
struct Weapon {
    name: &'static str,
    threads: usize,
    try_once: fn(&Place, &mut Dice) -> u64,
}

const WEAPONS: &[Weapon] = &[
    Weapon { name: "streams without a token", threads: 3, try_once: ports::streams },
    Weapon { name: "streams that are reset at once", threads: 2, try_once: ports::resets },
    Weapon { name: "large messages on all streams", threads: 2, try_once: ports::megabytes },
    Weapon { name: "half-open connections at every port", threads: 1, try_once: ports::half_open },
    Weapon { name: "slow requests at every port", threads: 2, try_once: ports::slow },
    Weapon { name: "oversize heads and bodies", threads: 2, try_once: ports::oversize },
    Weapon { name: "calls of the webhook", threads: 2, try_once: ports::webhook },
    Weapon { name: "junk uploads", threads: 2, try_once: trees::uploads },
    Weapon { name: "junk files in the followed tree", threads: 1, try_once: trees::files },
    Weapon { name: "mutants of rules", threads: 2, try_once: trees::mutants },
    Weapon { name: "edges that lie", threads: 3, try_once: lies::lie },
];

/// Tries one weapon for a while, on its threads.
fn strike(weapon: &Weapon, place: &Arc<Place>, dice: &mut Dice, time: Duration) -> u64 {
    let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let attackers: Vec<_> = (0..weapon.threads)
        .map(|_| {
            let (place, stop, tried, mut dice) = (place.clone(), stop.clone(), tried.clone(), dice.split());
            let try_once = weapon.try_once;
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    tried.fetch_add(try_once(&place, &mut dice), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let end = Instant::now() + time;
    wait_until("the end of the slice", || Instant::now() >= end);
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().unwrap();
    }
    tried.load(Ordering::Relaxed)
}

fn attack(form: &Form) {
    let mut dice = Dice::new();
    let mut report = Report::new(dice.seed());
    let arena = Arena::start();
    let witness = Witness::start(&arena);
    report.before(&arena);
    let begun = Instant::now();
    loop {
        for weapon in WEAPONS {
            report.tried(weapon.name, strike(weapon, &arena.place(), &mut dice, form.slice));
            arena.assert_alive(weapon.name);
            report.look(&arena);
        }
        for (name, violence) in violence::ALL {
            violence(&arena, &witness, &mut dice, &mut report);
            report.tried(name, 1);
            report.look(&arena);
        }
        if begun.elapsed() >= form.rounds {
            break;
        }
    }
    arena.clear();
    report.cooling(&arena);
    let_pass(form.cooling);
    report.after(&arena, form.cooling);
    let served = witness.finish();
    report.finish(&served);
    arena.end();
}

#[test]
fn a_short_attack_ends_nothing_and_others_are_served() {
    attack(&SHORT);
}

#[test]
#[ignore = "takes ten minutes; the short form runs each time"]
fn a_long_attack_ends_nothing_and_others_are_served() {
    attack(&LONG);
}
