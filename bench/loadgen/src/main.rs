//! Clients and a target that measure forwarders side by side: one measurement per call, one JSON object on stdout. I/O.
//!
//! Keeps: everything that is measured about a forwarder is read from outside of it, so that all are measured alike.

mod latency;
mod pattern;
mod processes;
mod report;
mod server;
mod server_udp;
mod sockets;
mod work;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use work::Work;

const USAGE: &str = "\
loadgen serve --port P [--threads N]
loadgen bulk|connections|echo|datagrams|idle|stall|half-close|memory --port P [--host IP] [--pid PID]
        [--conns N] [--secs S] [--warm S] [--size B] [--out N] [--threads N] [--up] [--hello]";

fn value<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).map(String::as_str)
}

fn number<T: std::str::FromStr>(args: &[String], name: &str, default: T) -> T {
    value(args, name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let port = number(&args, "--port", 0);
    let host = number(&args, "--host", IpAddr::V4(Ipv4Addr::LOCALHOST));
    let work = Work {
        address: SocketAddr::new(host, port),
        pid: number(&args, "--pid", 0),
        conns: number(&args, "--conns", 1),
        time: Duration::from_secs_f64(number(&args, "--secs", 2.0)),
        warm_up: Duration::from_secs_f64(number(&args, "--warm", 0.3)),
        size: number(&args, "--size", 64),
        outstanding: number(&args, "--out", 64),
        threads: number(&args, "--threads", 2),
        is_upload: args.iter().any(|arg| arg == "--up"),
        says_hello: args.iter().any(|arg| arg == "--hello"),
    };
    let result = match args.first().map(String::as_str) {
        Some("serve") => server::serve(port, work.threads),
        Some("bulk") => work::bulk::run(&work),
        Some("connections") => work::connections::run(&work),
        Some("echo") => work::echo::run(&work),
        Some("datagrams") => work::datagrams::run(&work),
        Some("idle") => work::memory::idle(&work),
        Some("stall") => work::memory::stall(&work),
        Some("memory") => work::memory::now(&work),
        Some("half-close") => work::half_close::run(&work),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::Report::default().text("error", &error.to_string()).print();
            ExitCode::FAILURE
        }
    }
}
