//! A task that ends by a panic ends the server with an error that names it, and the next start takes the state over.

use guard::supervisor::How;
use reconciler::act::parts::Part;
use reconciler::act::remote::{RemoteConfig, TreePath};
use reconciler::act::server::{Server, ServerConfig, ServerError};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{LONG, RULES, config};

/// The part after this one; a new part does not compile before it is in here.
fn next(part: Part) -> Option<Part> {
    match part {
        Part::Driver => Some(Part::Control),
        Part::Control => Some(Part::InProcess),
        Part::InProcess => Some(Part::Operator),
        Part::Operator => Some(Part::Metrics),
        Part::Metrics => Some(Part::Operators),
        Part::Operators => Some(Part::Follower),
        Part::Follower => Some(Part::RemoteFollower),
        Part::RemoteFollower => Some(Part::Upkeep),
        Part::Upkeep => Some(Part::Rollout),
        Part::Rollout => Some(Part::Registrar),
        Part::Registrar => Some(Part::Notices),
        Part::Notices => None,
    }
}

/// A server that has every part: what follows a remote has no directory.
fn following(dir: &TempDir, part: Part) -> ServerConfig {
    let rules = dir.path().join("rules");
    let remote = RemoteConfig {
        address: "file:///nowhere/at/all".parse().unwrap(),
        reference: "main".parse().unwrap(),
        path: TreePath::default(),
        interval: LONG,
        timeout: LONG,
        token_file: None,
        ssh_command: None,
        webhook_secret_file: None,
    };
    let is_remote = part == Part::RemoteFollower;
    ServerConfig {
        rules: (!is_remote).then_some(rules),
        remote: is_remote.then_some(remote),
        ..config(&dir.path().join("state"))
    }
}

#[tokio::test]
async fn every_part_that_panics_ends_the_server_which_names_it() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("rules/web.toml"), RULES).unwrap();
    let mut part = Some(Part::Driver);
    while let Some(killing) = part {
        // The state directory is free again, whichever part panicked.
        let server = Server::start(following(&dir, killing)).await.unwrap();
        let supervisor = server.supervisor();
        let run = tokio::spawn(server.run(CancellationToken::new()));
        supervisor.kill(killing);
        let error = timeout(LONG, run).await.expect("the server ends").unwrap().expect_err("with an error");
        let ServerError::Part(failed) = &error else { panic!("{killing}: {error}") };
        assert_eq!(failed.part, killing.to_string());
        assert_eq!(failed.how, How::Panicked("killed by a test".to_owned()), "{killing}");
        assert!(error.to_string().starts_with(&format!("{killing} panicked")), "{error}");
        part = next(killing);
    }
}
