//! Tests that need a network of their own: they run themselves again inside of one, and skip where there can be none.

use std::process::Command;

use crate::support::skip;

/// Set where a test runs inside of its namespace, to the part that it plays there.
const PART: &str = "PORTUNUS_TEST_NAMESPACE";
/// The part of the test itself.
const ITSELF: &str = "itself";
/// A link of which nobody answers at the other end, until somebody takes that end.
const NETWORK: &str = "ip link set lo up && ip link add out0 type veth peer name out1 && ip link set out0 up && \
                       ip addr add 10.9.8.254/24 dev out0";

/// Runs an `ip` command in this namespace.
pub(crate) fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
}

/// Runs a test of this name in a namespace of its own, or, inside, the part that this process plays: `test`, or that
/// of a program that [`part`] started.
pub(crate) fn in_namespace(name: &str, test: impl FnOnce(), other: impl FnOnce(&str)) {
    match std::env::var(PART) {
        Ok(part) if part == ITSELF => return test(),
        Ok(part) => return other(&part),
        Err(_) => {}
    }
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(PART, ITSELF).output()
    };
    if !private(NETWORK).is_ok_and(|output| output.status.success()) {
        return skip("no network namespaces with links between them here (root, unshare and iproute2 make them)");
    }
    let output = private(&format!("{NETWORK} && exec \"$0\" \"$@\"")).unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The arguments of `unshare` that run a test again as another part, in another namespace.
pub(crate) fn part(name: &str, part: &str) -> Vec<String> {
    let this = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let part = format!("{PART}={part}");
    ["--net", "env", &part, &this, "--exact", name, "--nocapture"].map(str::to_owned).to_vec()
}
