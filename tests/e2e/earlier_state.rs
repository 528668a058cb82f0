//! The state directory of a version that knew no certificates, operators or proofs of its ledger is taken over.
//!
//! `tests/golden/earlier-state` was written by the program of commit 9570d96: two trees that `up` applied, and a freeze.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::support::World;

#[test]
fn the_state_of_the_version_before_is_taken_over_with_its_token() {
    let world = World::new();
    let (from, to) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/earlier-state"), world.path("server-state"));
    fs::DirBuilder::new().mode(0o700).create(&to).unwrap();
    for file in ["server.redb", "operator.token"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
        fs::set_permissions(to.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let token = fs::read_to_string(from.join("operator.token")).unwrap();
    let server = world.serve(&["--mode", "heal"]);
    let is_taken_over = |world: &World| {
        assert_eq!(world.token(), token.trim(), "the token is the one from before");
        let status = world.status();
        let digest = "sha256:5ec7b19f8af4586b390cf25c48557eb1598df6e4309a6b084dc5bb2736fb2bf3";
        assert_eq!(status["revision"]["digest"], digest, "{status}");
        world.cli(&["history"]).exits(0).says("frozen").says("a migration");
        world.cli(&["history", "--verify"]).exits(0).says("The ledger is intact");
    };
    is_taken_over(&world);
    // What was frozen stays so, and the token may do everything, also what did not exist then.
    world.write("a.toml", "[[rule]]\nname = \"a\"\nlisten_port = 8081\ntarget = \"127.0.0.1:7081\"\n");
    world.apply_with(&[]).exits(6);
    world.cli(&["unfreeze"]).exits(0);
    world.cli(&["edge-token", "create", "edge-01"]).exits(0);
    world.cli(&["operator", "list"]).exits(0);
    server.stop();
    world.serve(&["--mode", "heal"]);
    is_taken_over(&world);
}
