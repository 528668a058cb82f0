//! How long ports take to change: on the edge alone, and from a saved file to the last port under `up`. I/O: opens
//! sockets on loopback; prints a table and never fails.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod saved;

use std::time::{Duration, Instant};

use edge::act::names::{Names, ResolverFiles};
use edge::act::runtime::{self, RuntimeHandle};
use edge::decide::admission::Accepted;
use edge::decide::desired::Desired;
use schema::canonical::rules_digest;
use schema::capability::{Capabilities, Capability, Limits};
use schema::name::RuleName;
use schema::net::{ListenAddress, ListenRange, PortRange, Protocol};
use schema::rule::{Host, Rule, RuleParts, Target};
use schema::wire::rule_to_wire;

const WIDTH: u16 = 1000;
const ROUNDS: u64 = 20;

fn range(name: &str, first: u16) -> Rule {
    let ports = PortRange::new(first, first + WIDTH - 1).expect("a range");
    let listen = ListenRange { protocol: Protocol::Tcp, address: ListenAddress::Any, ports };
    let target = Target::new(Host::parse("127.0.0.1").expect("an address"), ports);
    Rule::new(RuleParts::new(RuleName::new(name).expect("a name"), listen, vec![target])).expect("a valid rule")
}

/// An edge and the generation that it has.
struct Bench {
    edge: RuntimeHandle,
    generation: u64,
}

impl Bench {
    async fn start() -> Self {
        Self {
            edge: runtime::start(limits(), Names::start(ResolverFiles::default()), None, None).await.0,
            generation: 0,
        }
    }

    /// The time until the edge says that it serves the rules.
    async fn switch_to(&mut self, rules: &[Rule]) -> Duration {
        self.generation += 1;
        let accepted =
            Accepted { lineage: "bench".to_owned(), generation: self.generation, digest: rules_digest(rules.iter()) };
        let capabilities = Capabilities::from([Capability::Tcp, Capability::PortRange, Capability::Ipv6]);
        let start = Instant::now();
        let specs = rules.iter().map(rule_to_wire).collect();
        let desired = Desired::read(accepted, specs, None, &capabilities, &limits());
        self.edge.apply(desired).await.expect("the edge runs");
        let elapsed = start.elapsed();
        let listeners = self.edge.status().listeners;
        assert_eq!(listeners, rules.len() * usize::from(WIDTH), "the edge serves what was measured");
        elapsed
    }
}

fn limits() -> Limits {
    Limits { ports_per_range: 0, file_descriptors: 10_000, rules: 0 }
}

pub(crate) fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let (first, median, last) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("| {name} | {:.1} ms | {:.1}–{:.1} ms |", millis(median), millis(first), millis(last));
}

#[tokio::main]
async fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        // `cargo test --benches` asks whether it builds and starts.
        return;
    }
    println!("| change | median | spread |\n|---|---|---|");
    let mut bench = Bench::start().await;
    let low = saved::free_ports(2 * WIDTH);
    let (near, far) = (low + WIDTH / 2, low + WIDTH);
    let mut times: [Vec<Duration>; 5] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(bench.switch_to(&[range("web", low)]).await);
        times[1].push(bench.switch_to(&[range("web", near)]).await);
        bench.switch_to(&[range("web", low)]).await;
        times[2].push(bench.switch_to(&[range("web", far)]).await);
        times[3].push(bench.switch_to(&[range("renamed", far)]).await);
        times[4].push(bench.switch_to(&[]).await);
    }
    let [activate, slide, replace, rename, remove] = times;
    print("1000 ports are bound", activate);
    print("a range of 1000 ports slides by 500", slide);
    print("a range of 1000 ports becomes another 1000", replace);
    print("a rule with 1000 ports is renamed", rename);
    print("a rule with 1000 ports is removed", remove);
    print("from a saved file to the last of 100 ports under `up`", saved::measure());
}
