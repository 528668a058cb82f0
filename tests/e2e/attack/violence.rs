//! Power cuts at any moment, and stores that were damaged meanwhile.

use std::fs;
use std::time::Duration;

use super::arena::Arena;
use super::dice::Dice;
use super::report::Report;
use super::witness::Witness;
use crate::support::{let_pass, wait_for};

type Violence = fn(&Arena, &Witness, &mut Dice, &mut Report);

pub(super) const ALL: &[(&str, Violence)] = &[
    ("kill -9 of the server", kill_server),
    ("kill -9 of the edge", kill_edge),
    ("damaged stores at a restart", damage_store),
];

/// Something is being decided while it happens: a rule comes or goes.
fn change(arena: &Arena, dice: &mut Dice) {
    let path = arena.world.tree().join("junk-change.toml");
    if path.exists() {
        fs::remove_file(path).unwrap();
    } else {
        fs::write(path, crate::support::rule("real", "more", arena.place().rule + 1, 9, "")).unwrap();
    }
    let_pass(Duration::from_millis(dice.below(600) as u64));
}

fn kill_server(arena: &Arena, witness: &Witness, dice: &mut Dice, report: &mut Report) {
    change(arena, dice);
    report.look(arena);
    witness.without_operator(|| arena.restart_server(|_| {}));
}

fn kill_edge(arena: &Arena, witness: &Witness, dice: &mut Dice, report: &mut Report) {
    change(arena, dice);
    report.look(arena);
    witness.without_edge(|| arena.restart_edge());
}

/// Bytes of the store change, or its end is gone: the server says what is wrong and ends, or it starts.
fn damage_store(arena: &Arena, witness: &Witness, dice: &mut Dice, report: &mut Report) {
    report.look(arena);
    witness.without_operator(|| {
        arena.restart_server(|arena| {
            let path = arena.world.path("server-state/server.redb");
            let whole = fs::read(&path).unwrap();
            let mut damaged = whole.clone();
            match dice.below(3) {
                0 => damaged.truncate(dice.below(whole.len())),
                1 => damaged.fill(dice.byte()),
                _ => (0..=dice.below(2000)).for_each(|_| damaged[dice.below(whole.len())] = dice.byte()),
            }
            fs::write(&path, damaged).unwrap();
            let mut args = vec!["serve".to_owned(), "--rules".to_owned(), arena.world.tree_arg()];
            args.extend(arena.world.server_args());
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let server = arena.world.start("damaged", &args);
            let ended = wait_for("a verdict on the store", || match server.has_ended() {
                Some(status) => Ok(Some(status)),
                None if server.log().contains("server runs") => Ok(None),
                None => Err(server.log()),
            });
            match ended {
                Some(status) => assert_eq!(status.code(), Some(1), "{}", server.log()),
                None => server.kill(),
            }
            assert!(!server.log().contains("panicked"), "{}", server.log());
            fs::write(&path, whole).unwrap();
        });
    });
}
