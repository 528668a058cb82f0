//! The result of one measurement as one line of JSON. I/O: prints it.

use std::fmt::Write as _;

/// Keys and values in the order in which they were added.
#[derive(Default)]
pub struct Report(String);

impl Report {
    fn key(&mut self, key: &str) {
        let separator = if self.0.is_empty() { "" } else { "," };
        write!(self.0, "{separator}\"{key}\":").expect("a string takes all");
    }

    pub fn count(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        write!(self.0, "{value}").expect("a string takes all");
        self
    }

    pub fn number(mut self, key: &str, value: f64) -> Self {
        self.key(key);
        write!(self.0, "{value:.4}").expect("a string takes all");
        self
    }

    /// Text of this program's own and of the system's errors: quotes are replaced, there is nothing else to escape.
    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        write!(self.0, "\"{}\"", value.replace(['"', '\\', '\n'], "'")).expect("a string takes all");
        self
    }

    pub fn print(self) {
        println!("{{{}}}", self.0);
    }
}
