//! How the time for a list grows with the list: every list of the language, every list of mistakes, and every list of the
//! API is doubled from 1,000 to 128,000 entries, and the exponent is printed. 1.0 is in proportion, 2.0 is quadratic.
//!
//! `cargo bench --bench growth` measures, `-- NAME` only what has that in its name; without `--bench` each list is made
//! once, small. What is above 1.2 is printed with an arrow; it fails nothing, for time is not a test. Times are those of the
//! processor, and with GROWTH_TIMES each of them is printed. A list that fits into the caches at first and does not at the
//! end grows faster than its work: `a control` shows by how much. With GROWTH_INSTRUCTIONS, valgrind counts the
//! instructions of one round instead: neither caches nor other processes change them.

#[path = "../../schema/tests/growth/shapes.rs"]
mod shapes;
#[path = "../plan/tree.rs"]
#[expect(dead_code, reason = "`plan` also writes its fleet to a folder")]
mod tree;

mod api;
mod instructions;

use std::time::Duration;

use divan::black_box;
use nix::time::{ClockId, clock_gettime};
use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::all_to_json;
use schema::ruleset::TreeFiles;

const FROM: usize = 1000;
const TO: usize = 128_000;
/// What is above this is worth a look.
const STEEP: f64 = 1.2;
/// Shorter times are those of caches and clocks.
const MEASURABLE: Duration = Duration::from_millis(2);
/// Rounds are repeated until they have taken so much together.
const ROUNDS: Duration = Duration::from_millis(1500);
/// A list that takes longer is not doubled again.
const ENOUGH: Duration = Duration::from_secs(20);

/// A list of so many entries that was made, and what is measured of it.
type Work = Box<dyn FnMut()>;

/// Makes one.
type Make = Box<dyn Fn(usize) -> Work>;

fn lists() -> Vec<(String, Make)> {
    let mut lists: Vec<(String, Make)> = Vec::new();
    for (name, shape) in shapes::VALID.iter().chain(shapes::BROKEN) {
        let work = move |count| -> Work {
            let tree = TreeFiles { files: shape(count), problems: Vec::new() };
            Box::new(move || {
                let checked = check_tree(black_box(&tree), &CheckLimits::default());
                black_box(all_to_json(&checked.diagnostics));
            })
        };
        lists.push(((*name).to_owned(), Box::new(work)));
    }
    for (name, work) in api::LISTS {
        lists.push((format!("API: {name}"), Box::new(work)));
    }
    lists
}

/// One round: a function of its own, for valgrind to count.
#[inline(never)]
fn growth_round(work: &mut Work) {
    work();
    black_box(());
}

/// The shortest processor time of several rounds: whatever else the machine does only adds to it.
fn time_of(work: &mut Work) -> Duration {
    let mut once = || {
        let started = processor_time();
        growth_round(work);
        processor_time().saturating_sub(started)
    };
    let (mut shortest, mut spent) = (Duration::MAX, Duration::ZERO);
    while spent < ROUNDS {
        let time = once();
        shortest = shortest.min(time);
        // Clocks may stand still for less than a tick.
        spent += time.max(Duration::from_micros(100));
    }
    shortest
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The median of the slopes between any two sizes, both as logarithms (Theil and Sen's estimator): a time that the
/// machine disturbed does not change it.
fn exponent(costs: &[(usize, f64)]) -> Option<f64> {
    let points: Vec<(f64, f64)> = costs.iter().map(|(size, cost)| ((*size as f64).ln(), cost.ln())).collect();
    let pairs =
        points.iter().enumerate().flat_map(|(index, one)| points[..index].iter().map(move |other| (one, other)));
    let mut slopes: Vec<f64> = pairs.map(|(one, other)| (one.1 - other.1) / (one.0 - other.0)).collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied()
}

/// What a list of each size costs, and the largest cost in words.
fn times_of(make: &Make, to: usize) -> (Vec<(usize, f64)>, String) {
    let (mut times, mut last) = (Vec::new(), Duration::ZERO);
    for size in sizes(to) {
        last = time_of(&mut make(size));
        if last >= MEASURABLE {
            times.push((size, last.as_secs_f64()));
        }
        if last > ENOUGH {
            break;
        }
    }
    (times, format!("{last:.1?}"))
}

fn sizes(to: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(FROM), |size| Some(size * 2)).take_while(move |size| *size <= to)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn main() {
    if let Some((wanted, size)) = instructions::asked() {
        let list = lists().into_iter().find(|(name, _)| *name == wanted);
        growth_round(&mut list.expect("a list of that name").1(size));
        return;
    }
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let to = if is_measured { TO } else { FROM };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, make) in lists() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let (costs, last) = match std::env::var_os("GROWTH_INSTRUCTIONS") {
            Some(_) => instructions::counted(&name, sizes(to)),
            None => times_of(&make, to),
        };
        let found = exponent(&costs);
        let shown = found.map_or_else(|| "   -".to_owned(), |found| format!("{found:.2}"));
        let mark = if found.is_some_and(|found| found > STEEP) { " <--" } else { "" };
        if std::env::var_os("GROWTH_TIMES").is_some() {
            println!("{costs:?}");
        }
        println!("{name:<44} {shown}   {:>6} in {last:>10}{mark}", costs.last().map_or(0, |cost| cost.0));
    }
}
