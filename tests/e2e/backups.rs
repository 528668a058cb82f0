//! A backup holds all that a server needs to go on as the one before it, and nothing less is restored.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, wait_until};

/// What a state directory may hold. A new kind of file belongs into this list, and into backups unless the server makes it
/// again (`DERIVED` in `reconciler/src/act/backup/mod.rs`).
const KNOWN: [&str; 5] = ["ca", "edge", "git", "operator.token", "server.redb"];

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_lost_server_is_restored_and_its_edges_come_back_with_higher_generations() {
    let echo = Echo::start();
    let port = ports(3);
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let file = world.arg("server.backup");
    world.cli(&["backup", &file]).exits(0);
    assert_eq!(mode(&file), 0o600);
    let lineage = |world: &World| world.status()["lineage"].clone();
    let (before, at_backup) = (lineage(&world), world.generations("edge-01").0);
    // What comes after the backup is lost, and edges have it.
    world.edit_and_apply("b.toml", &rule("edge-01", "b", port + 1, echo.port, ""));
    world.edit_and_apply("c.toml", &rule("edge-01", "c", port + 2, echo.port, ""));
    let latest = world.generations("edge-01").0;
    assert!(latest > at_backup);
    server.kill();
    fs::rename(world.path("server-state"), world.path("lost")).unwrap();
    assert_eq!(answers(port + 2), Some(echo.port), "the edge forwards on");

    let state = world.arg("server-state");
    let said = world.cli(&["restore", &file, "--state-dir", &state]).exits(0);
    assert!(said.err.contains("revoke") && said.err.contains("ledger"), "{said}");
    assert_eq!((mode(&state), mode(&world.arg("server-state/operator.token"))), (0o700, 0o600));
    world.cli(&["restore", &file, "--state-dir", &state]).exits(1).says("is not empty");
    world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
    assert_eq!(lineage(&world), before, "the lineage stays");
    world.cli(&["history", "--verify"]).exits(0);
    assert!(edge.has_ended().is_none(), "the edge did not start again");
    // What the server knows is in force again, above everything that the edge has seen.
    world.wait_status("the restored revision", |status| {
        let edge = &status["edges"][0];
        edge["generation"].as_u64() > Some(latest) && edge["generation"] == edge["desired_generation"]
    });
    wait_until("the restored rules serve", || answers(port) == Some(echo.port) && answers(port + 1).is_none());
    world.apply();
    wait_until("the tree is applied again", || answers(port + 2) == Some(echo.port));
    world.cli(&["history", "--verify"]).exits(0);
}

#[test]
fn a_backup_is_whole_or_not_there_and_a_damaged_one_is_no_state() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let file = world.arg("server.backup");
    // Nothing is written where it cannot be complete.
    world.cli(&["backup", &world.arg("missing/server.backup")]).exits(1);
    fs::write(&file, "an older backup").unwrap();
    let denied = [("PORTUNUS_OPERATOR_TOKEN", "0123456789012345678901234567890123456789")];
    world.cli_with(&["backup", &file], &denied).exits(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "an older backup");
    world.cli(&["backup", &file]).exits(0);
    let entries: BTreeSet<String> = fs::read_dir(world.path("server-state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(entries.iter().all(|entry| KNOWN.contains(&entry.as_str())), "{entries:?}");
    server.stop();
    world.cli(&["backup", &world.arg("other.backup")]).exits(7);
    assert!(!world.path("other.backup").exists());

    let whole = fs::read(&file).unwrap();
    let (damaged, to) = (world.arg("damaged"), world.arg("restored"));
    for (bytes, words) in [
        (whole[..whole.len() / 2].to_vec(), "damaged"),
        ([&whole[..whole.len() - 1], &[whole[whole.len() - 1] ^ 1]].concat(), "checksum"),
        ([b"PTNBAK07".as_slice(), &whole[8..]].concat(), "version 07"),
        (b"something else".to_vec(), "not a backup"),
    ] {
        fs::write(&damaged, bytes).unwrap();
        world.cli(&["restore", &damaged, "--state-dir", &to]).exits(1).says(words);
        assert!(!world.path("restored").exists());
    }
    world.cli(&["restore", &world.arg("nothing"), "--state-dir", &to]).exits(1);
    let restored = world.cli(&["restore", &file, "--state-dir", &to, "-o", "json"]).exits(0).json();
    assert_eq!(restored["ledger_lines"], json!(0), "{restored}");
}

#[test]
fn a_damaged_store_is_no_start_and_the_error_names_restore() {
    let world = World::new();
    world.serve(&["--mode", "heal"]).stop();
    let store = world.path("server-state/server.redb");
    let whole = fs::read(&store).unwrap();
    let mut args = vec!["serve".to_owned()];
    args.extend(world.server_args());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for damage in [whole[..whole.len() / 3].to_vec(), vec![7; whole.len()], Vec::new()] {
        fs::write(&store, damage).unwrap();
        let server = world.start("damaged", &args);
        assert_eq!(server.ended(), 1, "{}", server.log());
        assert!(server.log().contains("portunus restore FILE --state-dir DIR"), "{}", server.log());
    }
    fs::write(&store, whole).unwrap();
    world.serve(&["--mode", "heal"]);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let world = World::new();
    let dir = world.arg("man");
    world.cli(&["man", &dir]).exits(0);
    let pages: BTreeSet<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let help = world.cli(&["--help"]).exits(0).out;
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        assert!(pages.contains(&format!("portunus-{command}.1")), "{command}: {pages:?}");
    }
    assert!(pages.contains("portunus.1") && pages.contains("portunus-target-pause.1"), "{pages:?}");
    let page = fs::read_to_string(world.path("man/portunus-edge.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains(".TH portunus-edge 1") && page.contains("policy"), "{page}");
    // A second run replaces them.
    world.cli(&["man", &dir]).exits(0);
}
