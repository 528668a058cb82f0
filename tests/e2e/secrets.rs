//! Secrets and state: private, exclusive, and through no link.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::World;

fn mode(world: &World, name: &str) -> u32 {
    fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_token_is_0600_the_state_directories_are_0700_and_both_survive_a_restart() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    assert_eq!(mode(&world, "server-state"), 0o700);
    assert_eq!(mode(&world, "edge-01-state"), 0o700);
    assert_eq!(mode(&world, "server-state/operator.token"), 0o600);
    assert_eq!(mode(&world, "server-state/server.redb"), 0o600);
    let token = world.token();
    assert!(token.len() >= 32);
    server.stop();
    world.serve(&["--mode", "heal"]);
    assert_eq!(world.token(), token);
    world.cli(&["status"]).exits(0);
}

#[test]
fn a_token_that_is_a_link_or_open_to_others_is_refused_by_server_and_operator() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let token = world.path("server-state/operator.token");
    fs::copy(&token, world.path("elsewhere")).unwrap();
    fs::remove_file(&token).unwrap();
    symlink(world.path("elsewhere"), &token).unwrap();
    world.cli(&["status"]).exits(1).says("operator.token");
    server.stop();
    let args = serve_args(&world);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.cli(&args).exits(1).says("symbolic link");
    fs::remove_file(&token).unwrap();
    fs::copy(world.path("elsewhere"), &token).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    world.cli(&args).exits(1).says("0644");
}

fn serve_args(world: &World) -> Vec<String> {
    let mut args = vec!["serve".to_owned(), "--mode".to_owned(), "heal".to_owned()];
    args.extend(world.server_args());
    args
}

#[test]
fn two_servers_or_two_edges_never_share_a_state_directory() {
    let world = World::with_edges(&["edge-01"]);
    let mut args = serve_args(&world);
    for (flag, port) in ["--control-listen", "--operator-listen", "--metrics-listen"].iter().zip(0..) {
        let at = args.iter().position(|arg| arg == flag).unwrap() + 1;
        args[at] = format!("127.0.0.1:{}", crate::support::ports(1) + port);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.cli(&args).exits(1).says("server-state");
    let (server, state) = (format!("http://127.0.0.1:{}", world.control), world.arg("edge-01-state"));
    let second = |name: &str| world.cli(&["edge", "--name", name, "--server", &server, "--state-dir", &state]);
    second("edge-01").exits(1).says("in use by another edge");
    second("edge-02").exits(64).says("is that of edge edge-01");
    world.cli(&["status"]).exits(0);
}

#[test]
fn a_taken_port_of_the_server_is_named() {
    let world = World::with_edges(&[]);
    let mut args = serve_args(&world);
    let at = args.iter().position(|arg| arg == "--state-dir").unwrap() + 1;
    args[at] = world.arg("other-state");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.cli(&args).exits(1).says(&world.control.to_string());
}

#[test]
fn a_password_in_the_url_of_a_server_is_in_no_message() {
    let world = World::new();
    let good = format!("http://me:PASSWORD@127.0.0.1:{}", world.operator);
    let odd = "ftp://me:PASS@WORD@host/x";
    for url in [&*good, odd, "http://me:PASSWORD@[::1", "http://PASSWORD@127.0.0.1", "PASSWORD@127.0.0.1"] {
        let joined = format!("--server={url}");
        for args in [
            vec!["status", "--server", url],
            vec!["status", &joined, "-o", "json"],
            vec!["edge", "--name", "a", "--server", url],
            vec!["edge", "--name", "a", &joined],
            vec!["status", "--server", url, "--nonsense"],
        ] {
            let said = world.cli(&args).exits(64);
            assert!(!said.out.contains("WORD") && !said.err.contains("WORD"), "{args:?}: {said:?}");
        }
        let help = world.cli_with(&["status", "--help"], &[("PORTUNUS_SERVER", url)]).exits(0);
        assert!(!help.out.contains("WORD"), "{help:?}");
        let said = world.cli_with(&["status"], &[("PORTUNUS_SERVER", url)]).exits(64);
        assert!(!said.err.contains("WORD"), "{said:?}");
    }
}

#[test]
fn a_repository_whose_url_does_not_parse_is_shown_without_its_password() {
    let world = World::new();
    let urls = [
        "https://me:PASSWORD@ho st/x",
        "gopher://me:PASSWORD@host/x",
        "http://me:PASSWORD@example.org/x",
        "https://PASSWORD@[::1",
        "https://me:PASS@WORD@-host/x",
        "me:PASSWORD@127.0.0.1:rules.git",
        "me:PASS@WORD@127.0.0.1:rules.git",
        "https://127.0.0.1/r?token=PASSWORD",
        "https://127.0.0.1/r#PASSWORD@",
    ];
    for url in urls {
        let joined = format!("--git={url}");
        for args in [vec!["serve", "--git", url], vec!["up", &joined], vec!["serve", &joined, "--nonsense"]] {
            let said = world.cli(&args);
            assert_ne!(said.code, 0, "{args:?}: {said:?}");
            assert!(!said.out.contains("WORD") && !said.err.contains("WORD"), "{args:?}: {said:?}");
        }
        fs::write(world.path("server.toml"), format!("git = \"{url}\"\n")).unwrap();
        let said = world.cli(&["serve", "--config", &world.arg("server.toml")]);
        assert!(said.code != 0 && !said.err.contains("WORD"), "{said:?}");
        let said = world.cli_with(&["serve"], &[("PORTUNUS_GIT", url)]);
        assert!(said.code != 0 && !said.err.contains("WORD"), "{said:?}");
    }
}

#[test]
fn what_is_followed_is_logged_without_what_could_be_a_password() {
    let world = World::new();
    let dead = crate::support::ports(1);
    for url in [
        format!("ssh://me:PASSWORD@127.0.0.1:{dead}/rules.git"),
        format!("http://me:PASSWORD@127.0.0.1:{dead}/rules.git"),
        "me:PASSWORD@127.0.0.1/rules.git".to_owned(),
    ] {
        let server = world.serve(&["--git", &url, "--interval", "1s", "--git-timeout", "1s", "--mode", "plan"]);
        crate::support::wait_until("the remote to fail", || server.log().contains("cannot be"));
        let shown = world.cli(&["status"]).exits(0);
        assert!(!server.log().contains("WORD") && !shown.out.contains("WORD"), "{shown:?}\n{}", server.log());
        server.stop();
    }
}

#[test]
fn a_token_is_in_no_message() {
    let world = World::with_edges(&[]);
    for token in ["PASSWORD", "PASSWORD with a blank", "P\u{e4}SSWORD"] {
        for said in [
            world.cli(&["status", "--token", token]),
            world.cli(&["status", "--token", token, "--nonsense"]),
            world.cli(&["status", &format!("--token={token}"), "-o", "json"]),
            world.cli_with(&["status"], &[("PORTUNUS_OPERATOR_TOKEN", token)]),
            world.cli_with(&["status", "--help"], &[("PORTUNUS_OPERATOR_TOKEN", token)]),
        ] {
            assert!(!said.out.contains("WORD") && !said.err.contains("WORD"), "{said:?}");
        }
    }
}
