//! The two streams: results to standard output, messages for people to standard error. I/O.
//!
//! Keeps: a reader that closed its end of the pipe is not an error, and the command goes on to its own exit code; no
//! control character of a user's file or a server's answer reaches a terminal.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::ColorChoice;
use reconciler::decide::render::Length;
pub(crate) use reconciler::decide::render::clean::{clean, is_harmful};
use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

use crate::cli::{Color, Format};
use crate::failure::Failure;
use crate::lines;

/// Whether tables are as wide as what they hold.
static IS_WIDE: AtomicBool = AtomicBool::new(false);

/// Tables are not cut to the terminal's width.
pub(crate) fn set_wide() {
    IS_WIDE.store(true, Ordering::Relaxed);
}

/// True if nothing is cut, folded or grouped for the sake of room.
pub(crate) fn is_wide() -> bool {
    IS_WIDE.load(Ordering::Relaxed)
}

/// How much a plan shows of what is alike.
pub(crate) fn length() -> Length {
    if is_wide() { Length::Full } else { Length::Brief }
}

/// How many columns a table may have: those of the terminal, else what `COLUMNS` says; without either there is no bound.
pub(crate) fn room() -> Option<usize> {
    if is_wide() {
        return None;
    }
    let of_terminal = || terminal_size_of(io::stdout()).map(|(Width(columns), _)| usize::from(columns));
    let of_variable = || std::env::var("COLUMNS").ok()?.trim().parse().ok();
    of_terminal().or_else(of_variable).filter(|columns| *columns > 0)
}

/// Decides once for both streams.
pub(crate) fn set_color(color: Color) {
    match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Says one message to the person on standard error; a line end is added. In a process that serves it waits for nobody.
pub(crate) fn say(message: impl Display) {
    let text = format!("{}\n", message.to_string().trim_end_matches('\n'));
    let Some(lines) = lines::of_this_process() else {
        // There is nobody left to tell that nobody can be told.
        anstream::stderr().lock().write_all(text.as_bytes()).ok();
        return;
    };
    let is_plain = anstream::AutoStream::choice(&io::stderr()) == ColorChoice::Never;
    lines.push(if is_plain { anstream::adapter::strip_str(&text).to_string() } else { text }.into_bytes());
}

/// True if a person can be asked: both the answer and the question go through a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Standard output. Styles are taken out where there is no terminal.
pub(crate) struct Out {
    inner: BufWriter<Box<dyn Write>>,
    is_closed: bool,
}

impl Out {
    /// For text with styles.
    pub(crate) fn text() -> Self {
        Self { inner: BufWriter::with_capacity(1 << 16, Box::new(anstream::stdout())), is_closed: false }
    }

    /// For data, as it is.
    pub(crate) fn data() -> Self {
        Self { inner: BufWriter::with_capacity(1 << 16, Box::new(io::stdout())), is_closed: false }
    }

    /// True once the reader has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn keep_quiet<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(instead)
            }
            other => other,
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let result = self.inner.write(bytes);
        self.keep_quiet(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let result = self.inner.flush();
        self.keep_quiet(result, ())
    }
}

/// Whether anybody still reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The reader takes it, or has not been asked.
    There,
    /// The reader closed its end of the pipe.
    Gone,
}

impl Out {
    fn end(mut self) -> Result<Reader, Failure> {
        self.flush().map_err(Failure::Output)?;
        Ok(if self.is_closed { Reader::Gone } else { Reader::There })
    }
}

/// Prints a finished text.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_while_read(text).map(drop)
}

/// The same for a command that goes on printing as long as somebody reads.
pub(crate) fn print_while_read(text: &str) -> Result<Reader, Failure> {
    let mut out = Out::text();
    out.write_all(text.as_bytes()).map_err(Failure::Output)?;
    out.end()
}

/// Prints a value as JSON or YAML; for text nothing is printed, and `false` is returned.
pub(crate) fn print_value(format: Format, value: &impl Serialize) -> Result<bool, Failure> {
    print_value_while_read(format, value).map(|printed| printed.is_some())
}

/// The same for a command that goes on printing as long as somebody reads; `None` for text.
pub(crate) fn print_value_while_read(format: Format, value: &impl Serialize) -> Result<Option<Reader>, Failure> {
    let mut out = Out::data();
    match format {
        Format::Text => return Ok(None),
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from).map_err(Failure::Output)?;
            out.write_all(b"\n").map_err(Failure::Output)?;
        }
        Format::Yaml => {
            let text = serde_yaml::to_string(value).map_err(|error| Failure::Output(io::Error::other(error)))?;
            out.write_all(text.as_bytes()).map_err(Failure::Output)?;
        }
    }
    out.end().map(Some)
}
