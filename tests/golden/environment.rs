//! Variables that are set but empty: the same as not set, for every flag and for what libraries read.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Ran, folder, portunus, run, tree};

#[test]
fn a_variable_that_is_set_but_empty_is_not_set() {
    let dir = tree(&[("rules.d/web.toml", "[[rule]]\nname = \"web\"\nlisten_port = 80\ntarget = \"192.0.2.1:80\"\n")]);
    let empty = |args: &[&str]| {
        let mut command = portunus(dir.path(), args);
        for name in names().chain(["NO_COLOR", "XDG_STATE_HOME", "GIT_SSH_COMMAND", "SSL_CERT_FILE"].map(str::to_owned))
        {
            command.env(name, "");
        }
        Ran::of(command.output().expect("the binary starts")).session()
    };
    fs::write(dir.path().join("live.json"), "{}").expect("written");
    for args in [
        &["validate", "rules.d"][..],
        &["fmt", "rules.d", "--check"],
        &["status"],
        &["plan", "rules.d", "--live", "live.json", "--allow-empty"],
        &["history"],
        &["events"],
        &["edge", "--server", "nonsense"],
        &["health", "simulate", "--events", "pass"],
    ] {
        assert_eq!(empty(args), run(dir.path(), args).session(), "{args:?}");
    }
}

/// Every variable that a help names.
fn names() -> impl Iterator<Item = String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder().join("cli")).expect("the folder of helps").flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let words =
            text.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit()));
        found.extend(words.filter(|word| word.starts_with("PORTUNUS_")).map(str::to_owned));
    }
    assert!(found.len() > 30, "{found:?}");
    found.into_iter()
}
