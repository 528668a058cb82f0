//! `health simulate`: what these results would do to a target, offline. The arguments, and both ways to print it.

use std::io::Write;
use std::num::NonZeroU8;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use schema::health::simulate::{Step, parse_events, simulate};
use schema::health::{
    DEFAULT_FALL, DEFAULT_HISTORY, DEFAULT_INTERVAL_SECS, DEFAULT_RISE, Initial, Mode, Pace, Terms, Thresholds,
};
use serde::{Serialize, Serializer};

use crate::cli::{Format, Looks};
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::output::{Out, print};
use crate::render::style;

/// The commands below `health`.
#[derive(Debug, Subcommand)]
pub(crate) enum HealthCommand {
    /// Show what these results would do to a target, for tuning a check before committing it
    Simulate(SimulateArgs),
}

/// How the counter moves.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ModeArg {
    Snap,
    Leaky,
}

/// Where the target starts.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum InitialArg {
    Probe,
    Optimistic,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Events: pass and fail are results of probes, ok and err are results of connections; the others are pause, resume, \
disable, enable and tick. An event may carry its time in seconds since the start, as in `fail@31`. An event without a \
time happens when the next probe is due.")]
pub(crate) struct SimulateArgs {
    /// What happens, in order, for example `pass fail@31 fail fail`
    #[arg(long, value_name = "EVENTS", env = "PORTUNUS_HEALTH_EVENTS")]
    events: String,
    /// Passes to go up
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RISE, env = "PORTUNUS_HEALTH_RISE", value_parser = clap::value_parser!(u8).range(1..))]
    rise: u8,
    /// Fails to go down
    #[arg(long, value_name = "N", default_value_t = DEFAULT_FALL, env = "PORTUNUS_HEALTH_FALL", value_parser = clap::value_parser!(u8).range(1..))]
    fall: u8,
    /// What a change takes; snap: results in a row, leaky: a balance of results
    #[arg(long, value_enum, value_name = "MODE", default_value = "snap", env = "PORTUNUS_HEALTH_MODE")]
    mode: ModeArg,
    /// Between probes of a settled target, 1s to 1h [default: 15s]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_HEALTH_INTERVAL", value_parser = interval)]
    interval: Option<Duration>,
    /// Between probes while unknown or between up and down [default: the interval]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_HEALTH_FAST", value_parser = interval)]
    fast: Option<Duration>,
    /// Between probes while fully down [default: the interval]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_HEALTH_DOWN", value_parser = interval)]
    down: Option<Duration>,
    /// Where the target starts; probe: unknown until a probe has ended, optimistic: up until probes fail
    #[arg(long, value_enum, value_name = "INITIAL", default_value = "probe", env = "PORTUNUS_HEALTH_INITIAL")]
    initial: InitialArg,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text).map_err(|error| error.to_string())?;
    let is_valid = (1..=3600).contains(&interval.as_secs());
    if is_valid { Ok(interval) } else { Err("an interval must be between 1s and 1h".to_owned()) }
}

impl SimulateArgs {
    fn terms(&self) -> Terms {
        let count = |number| NonZeroU8::new(number).expect("the argument's range starts at 1");
        let interval = self.interval.unwrap_or(Duration::from_secs(DEFAULT_INTERVAL_SECS.into()));
        Terms {
            thresholds: Thresholds {
                rise: count(self.rise),
                fall: count(self.fall),
                mode: match self.mode {
                    ModeArg::Snap => Mode::Snap,
                    ModeArg::Leaky => Mode::Leaky,
                },
            },
            pace: Some(Pace { interval, fast: self.fast.unwrap_or(interval), down: self.down.unwrap_or(interval) }),
            initial: match self.initial {
                InitialArg::Probe => Initial::Probe,
                InitialArg::Optimistic => Initial::Optimistic,
            },
            history: DEFAULT_HISTORY,
        }
    }
}

/// A time in plain seconds: a whole number where it is one.
struct Secs(Duration);

impl Serialize for Secs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    at: Secs,
    event: &'a str,
    state: &'a str,
    health: u16,
    next_secs: Option<Secs>,
    changed: bool,
}

pub(crate) fn run(command: &HealthCommand) -> Result<Exit, Failure> {
    let HealthCommand::Simulate(args) = command;
    let terms = args.terms();
    let steps = parse_events(&args.events).and_then(|events| simulate(terms, &events));
    let steps = steps.map_err(|error| Failure::Usage(format!("--events: {error}")))?;
    if args.looks.output == Format::Text {
        print(&text(&steps, terms.thresholds.maximum()))?;
    } else {
        let mut out = Out::data();
        for step in &steps {
            write_line(&mut out, args.looks.output, step)?;
        }
        out.flush().map_err(Failure::Output)?;
    }
    Ok(Exit::Done)
}

/// One line of JSON, or one document of YAML, as `events` prints them.
fn write_line(out: &mut Out, format: Format, step: &Step) -> Result<(), Failure> {
    let line = Line {
        at: Secs(step.at),
        event: step.kind.as_str(),
        state: step.state.as_str(),
        health: step.health,
        next_secs: step.next.map(Secs),
        changed: step.is_change(),
    };
    let failed = |error: String| Failure::Other(format!("the event cannot be printed: {error}"));
    let text = if format == Format::Yaml {
        format!("---\n{}", serde_yaml::to_string(&line).map_err(|error| failed(error.to_string()))?)
    } else {
        serde_json::to_string(&line).map_err(|error| failed(error.to_string()))? + "\n"
    };
    out.write_all(text.as_bytes()).map_err(Failure::Output)
}

fn text(steps: &[Step], maximum: u16) -> String {
    let secs = |time: Duration| format!("{}s", time.as_secs_f64());
    let at_width = steps.iter().map(|step| secs(step.at).len()).max().unwrap_or(0);
    let counter = |step: &Step| format!("{}/{maximum}", step.health);
    let counter_width = steps.iter().map(|step| counter(step).len()).max().unwrap_or(0);
    let next = |step: &Step| match step.next {
        None => "no probe".to_owned(),
        Some(Duration::ZERO) => "next probe now".to_owned(),
        Some(next) => format!("next probe in {}", secs(next)),
    };
    let next_width = steps.iter().map(|step| next(step).len()).max().unwrap_or(0);
    let line = |step: &Step| {
        let start = format!("{:>at_width$}  {:7}", secs(step.at), step.kind);
        let state = format!("{:8}", step.state);
        let rest = format!("counter {:>counter_width$}", counter(step));
        if step.is_change() {
            let was = style::faint(format!("was {}", step.before));
            format!("{start}  {}  {rest}  {:next_width$}  {was}\n", style::strong(state), next(step))
        } else {
            format!("{start}  {state}  {rest}  {}\n", next(step))
        }
    };
    steps.iter().map(line).collect()
}
