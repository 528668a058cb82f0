//! The few styles of the tool. Pure.

use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

/// A value inside a style.
pub struct Styled<T>(Style, T);

impl<T: Display> Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.render(), self.1, self.0.render_reset())
    }
}

const fn colored(color: AnsiColor) -> Style {
    color.on_default()
}

/// What went wrong.
pub fn error<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Red).bold(), value)
}

/// What a person should look at.
pub fn warning<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Yellow).bold(), value)
}

/// What to do.
pub fn help<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Cyan).bold(), value)
}

/// A line or value that is added.
pub fn added<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Green), value)
}

/// A line or value that is removed.
pub fn removed<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Red), value)
}

/// What becomes something else.
pub fn changed<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Yellow), value)
}

/// What matters most.
pub fn strong<T: Display>(value: T) -> Styled<T> {
    Styled(Style::new().bold(), value)
}

/// What matters least.
pub fn faint<T: Display>(value: T) -> Styled<T> {
    Styled(Style::new().dimmed(), value)
}
