//! Logs of the processes that serve, on standard error. I/O.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::cli::{Color, LogFormat};
use crate::failure::Failure;

/// Starts logging; called once.
pub(crate) fn start(level: &str, format: LogFormat, color: Color) -> Result<(), Failure> {
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
        Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let base = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(has_color);
    match format {
        LogFormat::Text => base.init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    Ok(())
}
