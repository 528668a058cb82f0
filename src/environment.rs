//! The environment as the tool takes it: a variable that is set but empty counts as not set. I/O.
//!
//! Keeps: one place for every variable, also for those that only libraries read. Removing a variable from a running process
//! is not safe beside other threads, so the process starts itself once more without it, before there is anything else.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Beginnings of the names of variables that the tool and its libraries read.
const PREFIXES: [&str; 8] = ["PORTUNUS_", "XDG_", "SSL_CERT_", "CLICOLOR", "GITHUB_", "GITLAB_", "CI_", "LISTEN_"];
/// Whole names of others.
const NAMES: [&str; 17] = [
    "NO_COLOR",
    "HOME",
    "USER",
    "LOGNAME",
    "COLUMNS",
    "LINES",
    "TMPDIR",
    "RUST_LOG",
    "GIT_SSH_COMMAND",
    "GIT_SSH",
    "GIT_CEILING_DIRECTORIES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Starts the process again without the variables that are set but empty; returns where there is none.
pub(crate) fn without_empty() {
    let empty = empty(env::vars_os());
    if empty.is_empty() {
        return;
    }
    start_again(|again| {
        for name in &empty {
            again.env_remove(name);
        }
    });
}

/// Starts the process again with more variables; returns where that is not possible.
pub(crate) fn with(variables: &[(&str, &str)]) {
    start_again(|again| {
        again.envs(variables.iter().copied());
    });
}

fn start_again(change: impl Fn(&mut Command)) {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("portunus"));
    let arguments: Vec<OsString> = arguments.collect();
    // By its path, so that `ps` shows its name; by its descriptor where the file has been replaced since.
    let paths = env::current_exe().ok().into_iter().chain([Path::new("/proc/self/exe").to_owned()]);
    for path in paths {
        let mut again = Command::new(path);
        again.arg0(&name).args(&arguments);
        change(&mut again);
        // It returns only if it failed; then the next path, or this process with the environment that it has.
        _ = again.exec();
    }
}

fn empty(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    variables.filter(|(name, value)| value.is_empty() && is_read(name)).map(|(name, _)| name).collect()
}

fn is_read(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || NAMES.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_variables_that_are_read_are_removed() {
        let given = [
            ("PORTUNUS_OUTPUT", ""),
            ("PORTUNUS_SERVER", "http://127.0.0.1:7080"),
            ("XDG_STATE_HOME", ""),
            ("https_proxy", ""),
            ("NO_COLOR", ""),
            ("MINE", ""),
            ("HOME", "/root"),
        ];
        let found = empty(given.into_iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(found, ["PORTUNUS_OUTPUT", "XDG_STATE_HOME", "https_proxy", "NO_COLOR"]);
    }
}
