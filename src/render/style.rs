//! The few styles of the tool. Pure.

use std::fmt::{self, Display};

use annotate_snippets::renderer::{AnsiColor, Style};

/// A value inside a style.
pub(crate) struct Styled<T>(Style, T);

impl<T: Display> Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.render(), self.1, self.0.render_reset())
    }
}

const fn colored(color: AnsiColor) -> Style {
    color.on_default()
}

/// What went wrong.
pub(crate) fn error<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Red).bold(), value)
}

/// What a person should look at.
pub(crate) fn warning<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Yellow).bold(), value)
}

/// What to do.
pub(crate) fn help<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Cyan).bold(), value)
}

/// What comes.
pub(crate) fn added<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Green), value)
}

/// What goes.
pub(crate) fn removed<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Red), value)
}

/// What becomes something else.
pub(crate) fn changed<T: Display>(value: T) -> Styled<T> {
    Styled(colored(AnsiColor::Yellow), value)
}

/// What matters most.
pub(crate) fn strong<T: Display>(value: T) -> Styled<T> {
    Styled(Style::new().bold(), value)
}

/// What matters least.
pub(crate) fn faint<T: Display>(value: T) -> Styled<T> {
    Styled(Style::new().dimmed(), value)
}
