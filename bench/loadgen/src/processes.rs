//! Processor time and memory of a forwarder: its process and all below it, as /proc tells. I/O.
//!
//! Keeps: time is the scheduler's in nanoseconds; the ticks of /proc/PID/stat would round many small sleeps to nothing.

use std::collections::HashMap;
use std::fs;

use crate::report::Report;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What follows the name in /proc/PID/stat: the name may hold spaces.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = read(&format!("/proc/{pid}/stat"));
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn names(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process and every descendant; none for pid 0, which stands for no forwarder at all.
fn tree(pid: u32) -> Vec<u32> {
    if pid == 0 {
        return Vec::new();
    }
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in names("/proc") {
        if let Some(parent) = stat(process).and_then(|fields| fields.get(1).copied()) {
            children.entry(parent as u32).or_default().push(process);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        found.extend(children.get(&found[at]).into_iter().flatten());
        at += 1;
    }
    found
}

/// Time so far.
#[derive(Clone, Copy, Default)]
pub struct Time {
    /// Of the forwarder, in nanoseconds.
    forwarder: u64,
    /// Of the whole machine, in hundredths of a second.
    machine: u64,
}

impl Time {
    pub fn now(pid: u32) -> Self {
        let mut forwarder = 0;
        for process in tree(pid) {
            // Children that were waited for: their threads are gone from /proc.
            forwarder += stat(process).map_or(0, |fields| fields.iter().skip(13).take(2).sum()) * 10_000_000;
            for thread in names(&format!("/proc/{process}/task")) {
                let text = read(&format!("/proc/{process}/task/{thread}/schedstat"));
                forwarder += text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0);
            }
        }
        let text = read("/proc/stat");
        let fields = text.lines().next().into_iter().flat_map(str::split_whitespace).skip(1);
        let fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
        // user, nice, system, irq, softirq
        let machine = [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum();
        Self { forwarder, machine }
    }

    /// Adds what was used since.
    pub fn report_until(self, later: Self, report: Report) -> Report {
        report
            .number("cpu_s", later.forwarder.saturating_sub(self.forwarder) as f64 / 1e9)
            .number("machine_cpu_s", later.machine.saturating_sub(self.machine) as f64 / 100.0)
    }
}

/// Memory at one moment, in KiB, and descriptors.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub rss: u64,
    pub pss: u64,
    pub descriptors: u64,
    /// What the whole machine has left: sockets and pipes are the kernel's and show nowhere else.
    pub available: u64,
}

fn kibibytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|field| field.parse().ok()).unwrap_or(0)
}

impl Memory {
    pub fn now(pid: u32) -> Self {
        let mut memory = Self { available: kibibytes(&read("/proc/meminfo"), "MemAvailable:"), ..Self::default() };
        for process in tree(pid) {
            let text = read(&format!("/proc/{process}/smaps_rollup"));
            memory.rss += kibibytes(&text, "Rss:");
            memory.pss += kibibytes(&text, "Pss:");
            memory.descriptors += names(&format!("/proc/{process}/fd")).len() as u64;
        }
        memory
    }
}
