//! What was tried and what it cost; the end decides whether that was within bounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

use super::arena::{Arena, NAMES};
use super::witness::{SERVED, Served};
use crate::processes::Process;

/// What a process may take, in bytes.
pub(super) const MEMORY: u64 = 512 << 20;
/// Descriptors that a process may have in the end beside those that it had before: connections that have just ended, a
/// file that is being looked at.
const MORE_DESCRIPTORS: usize = 48;
/// What a process may compute afterwards, as a share of the time.
const IDLE: f64 = 0.25;
/// The share of looks that may be late: debug builds share processors with the attackers.
const LATE: f64 = 0.01;

/// What a process has at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// In KiB.
    pss: u64,
    descriptors: usize,
    computed: Duration,
}

impl Cost {
    fn of(process: &Process) -> Self {
        Self { pss: pss(process), descriptors: process.descriptors(), computed: process.computed() }
    }
}

fn pss(process: &Process) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

pub(super) struct Report {
    seed: u64,
    tried: BTreeMap<&'static str, u64>,
    before: [Cost; 3],
    /// The most memory in KiB and the most descriptors, of any incarnation.
    most: [(u64, usize); 3],
    cooling: [Cost; 3],
    after: [Cost; 3],
    cooled: Duration,
    /// True if the kernel holds each process to [`MEMORY`].
    is_bounded: bool,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            tried: BTreeMap::new(),
            before: Default::default(),
            most: Default::default(),
            cooling: Default::default(),
            after: Default::default(),
            cooled: Duration::ZERO,
            is_bounded: false,
        }
    }

    pub(super) fn before(&mut self, arena: &Arena) {
        self.is_bounded = arena.is_bounded();
        self.before = arena.processes().map(|process| Cost::of(&process));
    }

    /// Counts what was tried.
    pub(super) fn tried(&mut self, what: &'static str, count: u64) {
        *self.tried.entry(what).or_default() += count;
    }

    /// Looks at what it costs; to be called before a process is killed.
    pub(super) fn look(&mut self, arena: &Arena) {
        for (most, process) in self.most.iter_mut().zip(arena.processes()) {
            *most = (most.0.max(process.peak()), most.1.max(process.descriptors()));
        }
    }

    pub(super) fn cooling(&mut self, arena: &Arena) {
        self.cooling = arena.processes().map(|process| Cost::of(&process));
    }

    pub(super) fn after(&mut self, arena: &Arena, cooled: Duration) {
        self.look(arena);
        self.after = arena.processes().map(|process| Cost::of(&process));
        self.cooled = cooled;
    }

    /// Prints all of it, and fails where something was out of bounds.
    #[track_caller]
    pub(super) fn finish(&self, served: &[Served]) {
        let bound = if self.is_bounded { "held to" } else { "looked at for" };
        let mut text = format!("--- the attack, with seed {}; memory is {bound} {} MiB\n", self.seed, MEMORY >> 20);
        for (what, count) in &self.tried {
            writeln!(text, "{count:>10} {what}").unwrap();
        }
        let mut faults = Vec::new();
        for at in 0..NAMES.len() {
            self.process(at, &mut text, &mut faults);
        }
        for one in served {
            witness(one, &mut text, &mut faults);
        }
        // Past the capture of the test's output: it is what the attack is run for.
        std::io::stderr().write_all(text.as_bytes()).ok();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    fn process(&self, at: usize, text: &mut String, faults: &mut Vec<String>) {
        let (name, before, after, (peak, descriptors)) = (NAMES[at], self.before[at], self.after[at], self.most[at]);
        let computed = after.computed.saturating_sub(self.cooling[at].computed);
        writeln!(
            text,
            "{name}: PSS {} KiB before, {} KiB {} s after it, at most {peak} KiB resident; descriptors {} before, {} after, \
             at most {descriptors} seen; computed {computed:?} in the {} s after it",
            before.pss,
            after.pss,
            self.cooled.as_secs(),
            before.descriptors,
            after.descriptors,
            self.cooled.as_secs(),
        )
        .unwrap();
        // A process that the kernel holds to the limit is alive, or the attack would have ended. What is resident includes
        // pages of files, which the kernel takes back where they are too many.
        if !self.is_bounded && peak * 1024 >= MEMORY {
            faults.push(format!("{name} took {peak} KiB"));
        }
        if after.descriptors > before.descriptors + MORE_DESCRIPTORS {
            faults.push(format!("{name} keeps {} descriptors, it had {}", after.descriptors, before.descriptors));
        }
        if computed.as_secs_f64() > self.cooled.as_secs_f64() * IDLE {
            faults.push(format!("{name} computed {computed:?} after the attack"));
        }
    }
}

fn witness(one: &Served, text: &mut String, faults: &mut Vec<String>) {
    let Served { name, looks, failed, late, longest, median } = one;
    let failures = failed.len();
    writeln!(
        text,
        "{name}: {looks} served, {failures} not, {late} after more than {SERVED:?}; median {median:?}, longest {longest:?}"
    )
    .unwrap();
    if let Some(first) = failed.first() {
        faults.push(format!("{name} were not served {failures} times, first: {first}"));
    }
    if *late as f64 > *looks as f64 * LATE {
        faults.push(format!("{name} waited more than {SERVED:?} {late} times of {looks}, {longest:?} at most"));
    }
}
