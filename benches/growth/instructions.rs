//! The instructions of one round of a list, as valgrind's callgrind counts them: the same program once more, below valgrind,
//! which makes one list and counts within `growth_round` alone.

use std::process::Command;

/// The list and the size that the program below valgrind is to make.
const ONE: &str = "GROWTH_ONE";

/// What this process was started for below valgrind.
pub(crate) fn asked() -> Option<(String, usize)> {
    let one = std::env::var(ONE).ok()?;
    let (name, size) = one.rsplit_once('=')?;
    Some((name.to_owned(), size.parse().ok()?))
}

/// The instructions of a list of each size, and the largest number in words.
pub(crate) fn counted(name: &str, sizes: impl Iterator<Item = usize>) -> (Vec<(usize, f64)>, String) {
    let counts: Vec<(usize, f64)> = sizes.map(|size| (size, count(name, size))).collect();
    let last = counts.last().map_or(0.0, |count| count.1);
    (counts, format!("{:.1} M", last / 1e6))
}

fn count(name: &str, size: usize) -> f64 {
    let said = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*growth_round*"])
        .arg(std::env::current_exe().expect("the path of this program"))
        .env(ONE, format!("{name}={size}"))
        .output()
        .expect("valgrind, which counts the instructions");
    let said = String::from_utf8_lossy(&said.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).map(|found| found.1.trim().to_owned());
    collected.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("valgrind counted nothing: {said}"))
}
