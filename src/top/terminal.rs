//! The terminal while `top` has it: raw, on the alternate screen, without a cursor. I/O.
//!
//! Keeps: whatever ends or stops the program, short of SIGKILL, finds the terminal as it was.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::Rect;
use terminal_size::terminal_size_of;

use crate::failure::Failure;

/// Where nothing is known of the screen.
const USUAL: (u16, u16) = (80, 24);
/// A frame of a large screen is written at once.
const FRAME: usize = 1 << 16;

/// A task has panicked, and the terminal was given back for what it says.
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

/// True if a task has panicked: the others cannot go on without it.
pub(crate) fn has_panicked() -> bool {
    HAS_PANICKED.load(Ordering::Relaxed)
}

/// The size of a frame that is printed: that of the terminal, else what `COLUMNS` and `LINES` say, else 80×24.
pub(crate) fn printed_area() -> Rect {
    let of_variable = |name: &str| std::env::var(name).ok()?.trim().parse::<u16>().ok().filter(|size| *size > 0);
    if io::stdout().is_terminal() {
        // The prompt that follows needs a line.
        let area = area();
        return Rect { height: area.height.saturating_sub(1), ..area };
    }
    let (width, height) = (of_variable("COLUMNS").unwrap_or(USUAL.0), of_variable("LINES").unwrap_or(USUAL.1));
    Rect::new(0, 0, width, height)
}

/// Fails where there is no terminal to read keys from and to draw on.
pub(crate) fn check() -> Result<(), Failure> {
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        let words = "`top` cannot draw on a terminal with TERM=dumb; `portunus top --once` prints one frame there";
        return Err(Failure::Usage(words.to_owned()));
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::Usage("`top` needs a terminal; `portunus top --once` prints one frame without one".to_owned()))
}

/// The size of the terminal.
pub(crate) fn area() -> Rect {
    let known = terminal_size_of(io::stdout()).filter(|(width, height)| width.0 > 0 && height.0 > 0);
    known.map_or(Rect::new(0, 0, USUAL.0, USUAL.1), |(width, height)| Rect::new(0, 0, width.0, height.0))
}

/// The screen. Dropped, it gives the terminal back.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn open() -> Result<Self, Failure> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            HAS_PANICKED.store(true, Ordering::Relaxed);
            leave();
            before(panic);
        }));
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME, io::stdout()));
        let terminal = Terminal::new(backend).map_err(Failure::Output)?;
        let mut screen = Self { terminal };
        screen.enter()?;
        Ok(screen)
    }

    /// Takes the terminal again, after something else had it; everything is drawn anew.
    pub(crate) fn enter(&mut self) -> Result<(), Failure> {
        // A shell may have set modes of its own meanwhile, of which crossterm knows nothing.
        disable_raw_mode().map_err(Failure::Output)?;
        enable_raw_mode().map_err(Failure::Output)?;
        execute!(self.terminal.backend_mut(), EnterAlternateScreen, Hide).map_err(Failure::Output)?;
        self.redraw()
    }

    /// Draws everything with the next frame.
    pub(crate) fn redraw(&mut self) -> Result<(), Failure> {
        // `clear` would ask the terminal for its cursor, and wait for an answer that the reader of keys takes.
        let area = self.area();
        self.terminal.resize(area).map_err(Failure::Output)
    }

    /// Gives the terminal back and stops, as Ctrl-Z asks for. Returns once the program is continued.
    pub(crate) fn suspend(&mut self) -> Result<(), Failure> {
        leave();
        // SIGTSTP would come back to this program, which has a handler for it.
        raise(Signal::SIGSTOP).map_err(|error| Failure::Other(format!("the program cannot be stopped: {error}")))?;
        self.enter()
    }

    /// Its size.
    pub(crate) fn area(&self) -> Rect {
        let size = self.terminal.size().ok().filter(|size| size.width > 0 && size.height > 0);
        size.map_or(Rect::new(0, 0, USUAL.0, USUAL.1), |size| Rect::new(0, 0, size.width, size.height))
    }

    /// Draws a frame.
    pub(crate) fn draw(&mut self, paint: impl FnOnce(Rect, &mut ratatui::buffer::Buffer)) -> Result<(), Failure> {
        let paint = |frame: &mut ratatui::Frame<'_>| {
            let area = frame.area();
            paint(area, frame.buffer_mut());
        };
        self.terminal.draw(paint).map(drop).map_err(Failure::Output)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.terminal.backend_mut().flush().ok();
        leave();
    }
}

/// Makes the terminal what it was. Nobody can be told that it cannot be done.
fn leave() {
    disable_raw_mode().ok();
    execute!(io::stdout(), LeaveAlternateScreen, Show).ok();
}
