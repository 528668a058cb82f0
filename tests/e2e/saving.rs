//! The ways in which trees change on disk: editors, ConfigMaps, checkouts. The live state ends as the tree ends.

use std::fs;
use std::os::unix::fs::symlink;

use crate::peers::{Echo, Steady, answers};
use crate::support::{World, edge_of, ports, rule, wait_until};

/// A world that follows a tree outside git, for saves without commits.
fn unversioned(file: &str, text: &str) -> World {
    let world = World::new();
    fs::remove_dir_all(world.tree().join(".git")).unwrap();
    world.write(file, text);
    world
}

#[test]
fn an_editor_that_saves_by_rename_is_followed() {
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(1);
    let world = unversioned("web.toml", &rule("edge-01", "web", port, one.port, ""));
    world.follow_uncommitted();
    world.edge("edge-01");
    world.wait_rule("edge-01", "web", "active");
    let probe = Steady::probe(port, vec![one.port, two.port]);
    for round in 0..4 {
        let target = if round % 2 == 0 { &two } else { &one };
        let before = world.generations("edge-01").1;
        // As vim does it: a number of its own, a backup, a new file, a rename.
        world.write("4913", "");
        fs::remove_file(world.tree().join("4913")).unwrap();
        fs::rename(world.tree().join("web.toml"), world.tree().join("web.toml~")).unwrap();
        world.write(".web.toml.swp", "swap");
        world.write("web.toml.new", rule("edge-01", "web", port, target.port, ""));
        fs::rename(world.tree().join("web.toml.new"), world.tree().join("web.toml")).unwrap();
        fs::remove_file(world.tree().join("web.toml~")).unwrap();
        wait_until("the saved target to serve", || answers(port) == Some(target.port));
        assert_eq!(world.generations("edge-01").1, before + 1, "one save is one generation");
    }
    probe.finish();
}

#[test]
fn a_tree_swapped_as_kubernetes_does_it_is_followed() {
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(1);
    let world = World::new();
    fs::remove_dir_all(world.tree()).unwrap();
    let volume = world.tree();
    fs::create_dir(&volume).unwrap();
    let publish = |stamp: &str, target: u16| {
        fs::create_dir(volume.join(stamp)).unwrap();
        fs::write(volume.join(stamp).join("web.toml"), rule("edge-01", "web", port, target, "")).unwrap();
        symlink(stamp, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish("..2026_01", one.port);
    symlink("..data/web.toml", volume.join("web.toml")).unwrap();
    world.follow_uncommitted();
    world.edge("edge-01");
    world.wait_rule("edge-01", "web", "active");
    assert_eq!(answers(port), Some(one.port));
    let probe = Steady::probe(port, vec![one.port, two.port]);
    let before = world.generations("edge-01").1;
    publish("..2026_02", two.port);
    fs::remove_dir_all(volume.join("..2026_01")).unwrap();
    wait_until("the new volume to serve", || answers(port) == Some(two.port));
    assert_eq!(world.generations("edge-01").1, before + 1);
    probe.finish();
}

#[test]
fn a_directory_that_is_a_link_may_be_swapped() {
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(1);
    let world = World::new();
    for (name, target) in [("blue", one.port), ("green", two.port)] {
        fs::create_dir(world.path(name)).unwrap();
        fs::write(world.path(name).join("web.toml"), rule("edge-01", "web", port, target, "")).unwrap();
    }
    symlink("blue", world.path("current")).unwrap();
    world.serve(&["--mode", "apply", "--allow-dirty", "--rules", &world.arg("current")]);
    world.edge("edge-01");
    world.wait_rule("edge-01", "web", "active");
    symlink("green", world.path("next")).unwrap();
    fs::rename(world.path("next"), world.path("current")).unwrap();
    wait_until("the other tree to serve", || answers(port) == Some(two.port));
}

#[test]
fn a_checkout_of_500_files_ends_as_the_tree_ends_after_few_revisions() {
    const FILES: u16 = 500;
    let world = World::new();
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(FILES);
    let write = |target: u16| {
        for index in 0..FILES {
            let text = rule("edge-01", &format!("rule-{index}"), port + index, target, "");
            world.write(&format!("{}/rule-{index}.toml", index % 10), text);
        }
        world.commit()
    };
    let first = write(one.port);
    world.git(&["branch", "blue"]);
    let second = write(two.port);
    world.git(&["checkout", "-q", "blue"]);
    world.follow("apply");
    let edge = world.edge("edge-01");
    let in_force = |commit: &str| {
        world.wait_status("the commit to be in force", |status| {
            status["revision"]["commit"] == commit
                && edge_of(status, "edge-01").is_some_and(|edge| {
                    edge["generation"] == edge["desired_generation"]
                        && edge["rules"].as_array().unwrap().len() == usize::from(FILES)
                        && edge["rules"].as_array().unwrap().iter().all(|rule| rule["state"] == "active")
                })
        })
    };
    in_force(&first);
    let probe = Steady::probe(port + 250, vec![one.port, two.port]);
    let before = world.generations("edge-01").0;
    world.git(&["checkout", "-q", "main"]);
    let status = in_force(&second);
    for rule in edge_of(&status, "edge-01").unwrap()["rules"].as_array().unwrap() {
        assert_eq!(rule["spec"]["target"], format!("127.0.0.1:{}", two.port));
    }
    let revisions = world.generations("edge-01").0 - before;
    assert!((1..=3).contains(&revisions), "{revisions} revisions");
    for offset in [0, 99, 499] {
        assert_eq!(answers(port + offset), Some(two.port));
    }
    probe.finish();
    assert!(edge.has_ended().is_none());
}

#[test]
fn a_directory_that_comes_after_its_server_is_followed() {
    let echo = Echo::start();
    let port = ports(1);
    let world = World::new();
    fs::remove_dir_all(world.tree()).unwrap();
    world.follow_uncommitted();
    world.edge("edge-01");
    world.wait_status("the missing tree to be named", |status| {
        status["revision"]["errors"].as_array().is_some_and(|errors| !errors.is_empty())
    });
    fs::create_dir(world.path("new")).unwrap();
    fs::write(world.path("new/web.toml"), rule("edge-01", "web", port, echo.port, "")).unwrap();
    fs::rename(world.path("new"), world.tree()).unwrap();
    world.wait_rule("edge-01", "web", "active");
    assert_eq!(answers(port), Some(echo.port));
}
