//! Logs of the processes that serve, on standard error. I/O.
//!
//! Keeps: nothing that is logged waits or fails, a panic included; the last lines of an end are written where the
//! reader takes them.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::cli::{Color, LogFormat};
use crate::failure::Failure;
use crate::lines::{self, LineWriter, Lines};
use crate::output::say;

/// How long the end waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What takes events behind the filter.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Writing = Box<dyn Layer<Filtered> + Send + Sync>;

/// The logging of this process.
pub(crate) struct Logging {
    lines: &'static Lines,
    has_color: bool,
    filter: reload::Handle<EnvFilter, Registry>,
    writing: reload::Handle<Writing, Filtered>,
}

impl Logging {
    /// Starts logging; called once.
    pub(crate) fn start(level: &str, format: LogFormat, color: Color) -> Result<Self, Failure> {
        let filter = filter(level)?;
        let has_color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let lines = lines::start().map_err(|error| Failure::Other(format!("logging cannot be started: {error}")))?;
        let (filter_layer, filter) = reload::Layer::new(filter);
        let (writing_layer, writing) = reload::Layer::new(writing(lines, format, has_color));
        tracing_subscriber::registry().with(filter_layer).with(writing_layer).init();
        panic::set_hook(Box::new(panicked));
        Ok(Self { lines, has_color, filter, writing })
    }

    /// Goes on with another level and format.
    pub(crate) fn change(&self, level: &str, format: LogFormat) -> Result<(), Failure> {
        let filter = filter(level)?;
        // Fails only where logging has ended.
        self.filter.reload(filter).ok();
        self.writing.reload(writing(self.lines, format, self.has_color)).ok();
        Ok(())
    }

    /// How many lines were dropped so far, for the metrics.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.lines.dropped()
    }
}

fn filter(level: &str) -> Result<EnvFilter, Failure> {
    // The filter would take a misspelt level for the name of a module, and be silent.
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let misspelt = level.split(',').map(str::trim).find(|part| !part.contains(['=', '[']) && !is_level(part));
    if let Some(word) = misspelt {
        return Err(Failure::Usage(format!(
            "`{word}` is not a log level: expected off, error, warn, info, debug or trace"
        )));
    }
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| Failure::Usage(format!("`{level}` is neither a log level nor a filter: {error}")))
}

fn writing(lines: &'static Lines, format: LogFormat, has_color: bool) -> Writing {
    let base = fmt::layer().with_writer(move || LineWriter(lines)).with_ansi(has_color).log_internal_errors(false);
    match format {
        LogFormat::Text => base.boxed(),
        LogFormat::Json => base.json().flatten_event(true).boxed(),
    }
}

/// Waits for the last lines, at most for [`LAST_LINES`]. Does nothing where no logging was started.
pub(crate) fn flush() {
    if let Some(lines) = lines::of_this_process() {
        lines.flush(LAST_LINES);
    }
}

/// Logs a panic. The hook of the standard library would wait for the reader of standard error.
fn panicked(panic: &PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let reason = panic.payload_as_str().unwrap_or("unknown");
    let backtrace = Backtrace::capture();
    if !tracing::enabled!(tracing::Level::ERROR) {
        say(format!("thread {thread} panicked at {at}: {reason}"));
    } else if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, at, reason, %backtrace, "a thread panicked");
    } else {
        tracing::error!(thread, at, reason, "a thread panicked");
    }
    // Its end is that of the process.
    if thread == "main" {
        flush();
    }
}
