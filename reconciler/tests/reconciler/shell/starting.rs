//! What the server makes at its first start, and what it refuses to start with.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};

use reconciler::act::server::{Server, TOKEN_FILE};
use tempfile::TempDir;

use super::{Running, config};

fn mode_of(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Why the server does not start.
async fn refusal(dir: &TempDir) -> String {
    let error = Server::start(config(&dir.path().join("state"))).await.expect_err("refused");
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[tokio::test]
async fn the_state_directory_and_the_token_are_for_us_alone() {
    let server = Running::start().await;
    let state = server.dir.path().join("state");
    assert_eq!((mode_of(&state), mode_of(&state.join(TOKEN_FILE))), (0o700, 0o600));
    assert!(server.token.len() >= 32, "{}", server.token.len());
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_others_could_read_or_that_is_a_link_is_refused() {
    let dir = Running::start().await.stop().await;
    let token = dir.path().join("state").join(TOKEN_FILE);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let why = refusal(&dir).await;
    assert!(why.contains(TOKEN_FILE) && why.contains("accessible to other users"), "{why}");
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&token, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&elsewhere, &token).unwrap();
    let why = refusal(&dir).await;
    assert!(why.contains(TOKEN_FILE) && why.contains("symbolic link"), "{why}");
    fs::remove_file(&token).unwrap();
    fs::write(&token, "").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let why = refusal(&dir).await;
    assert!(why.contains(TOKEN_FILE) && why.contains("contains no token"), "{why}");
}

#[tokio::test]
async fn one_server_at_a_time_uses_a_state_directory() {
    let server = Running::start().await;
    let error = Server::start(config(&server.dir.path().join("state"))).await.expect_err("refused");
    assert!(error.to_string().contains("another server uses"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn the_control_port_listens_on_any_address() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir.path().join("state"));
    config.control_listen = SocketAddr::from(([0, 0, 0, 0], 0));
    Server::start(config).await.expect("mutual TLS protects it");
}
