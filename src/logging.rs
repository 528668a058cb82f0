//! Logs of the processes that serve, on standard error. I/O.
//!
//! Keeps: nothing that is logged waits or fails, a panic included; the last lines of an end are written where the reader
//! takes them.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::cli::{Color, LogFormat};
use crate::failure::Failure;
use crate::lines::{self, LineWriter};
use crate::output::say;

/// How long the end waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Starts logging; called once. Returns how many lines were dropped so far, for the metrics.
pub(crate) fn start(level: &str, format: LogFormat, color: Color) -> Result<Arc<AtomicU64>, Failure> {
    // The filter would take a misspelt level for the name of a module, and be silent.
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let misspelt = level.split(',').map(str::trim).find(|part| !part.contains(['=', '[']) && !is_level(part));
    if let Some(word) = misspelt {
        return Err(Failure::Usage(format!(
            "`{word}` is no log level; there are off, error, warn, info, debug and trace"
        )));
    }
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|error| Failure::Usage(format!("`{level}` is no log level and no filter: {error}")))?;
    let has_color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let lines = lines::start().map_err(|error| Failure::Other(format!("logging cannot be started: {error}")))?;
    let writer = move || LineWriter(lines);
    let base = fmt().with_env_filter(filter).with_writer(writer).with_ansi(has_color).log_internal_errors(false);
    match format {
        LogFormat::Text => base.init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    panic::set_hook(Box::new(panicked));
    Ok(lines.dropped())
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
