//! What measures the product is not a part of it, builds from what the product is built from, and is explained. I/O.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;

use crate::workspace::{assert_none, file, files, root};

/// The packages of a lock file, with their versions.
fn locked(path: &str) -> BTreeSet<(String, String)> {
    let lock: toml::Table = file(path).text().parse().expect("cargo writes TOML");
    let text = |package: &toml::Value, key: &str| package[key].as_str().expect("a text").to_owned();
    let packages = lock["package"].as_array().expect("a list");
    packages.iter().map(|package| (text(package, "name"), text(package, "version"))).collect()
}

#[test]
fn the_load_generator_takes_nothing_that_the_product_does_not() {
    // So that its licences need no list of their own.
    let own = ("loadgen".to_owned(), "0.1.0".to_owned());
    let product = locked("Cargo.lock");
    let more = locked("bench/loadgen/Cargo.lock").into_iter().filter(|package| !product.contains(package));
    let more = more.filter(|package| *package != own).map(|(name, version)| format!("{name} {version}"));
    assert_none(
        "packages of bench/loadgen alone; `cargo update -p NAME --precise VERSION` there",
        &more.collect::<Vec<_>>(),
    );
}

#[test]
fn the_load_generator_is_outside_of_the_workspace_and_safe() {
    let manifest: toml::Table = file("bench/loadgen/Cargo.toml").text().parse().expect("TOML");
    assert!(manifest["workspace"].as_table().is_some_and(toml::Table::is_empty), "it is its own workspace");
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    assert!(!locked("Cargo.lock").iter().any(|(name, _)| name == "loadgen"));
}

#[test]
fn every_workload_and_every_peer_of_the_benchmark_is_explained() {
    let readme = file("bench/README.md").text();
    let is_named = |name: &str| readme.contains(&format!("`{name}`"));
    let adapters = files().iter().filter_map(|file| file.path.strip_prefix("bench/adapters/")?.strip_suffix(".sh"));
    let peers = adapters.filter(|name| !name.ends_with(".companion") && *name != "rule");
    let mut names: Vec<String> = peers.map(str::to_owned).collect();
    assert!(names.len() >= 5, "{names:?}");
    match Command::new(root().join("bench/run.sh")).arg("--list").output() {
        Ok(output) if output.status.success() => {
            names.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
            assert!(names.iter().any(|name| name == "bulk1"), "{names:?}");
        }
        // The driver is Python; whoever does not measure need not have it.
        Ok(output) if output.status.code() == Some(127) => {
            writeln!(std::io::stderr(), "the workloads are not checked: there is no python3").ok();
        }
        other => panic!("bench/run.sh --list: {other:?}"),
    }
    let missing: Vec<String> = names.into_iter().filter(|name| !is_named(name)).collect();
    assert_none("not in bench/README.md", &missing);
}
