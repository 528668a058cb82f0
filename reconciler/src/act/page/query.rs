//! Paths with a query, for questions to the API. Pure values; no I/O of its own.

use super::sign_in::encoded;

/// A path that pairs are added to.
#[derive(Debug, Clone)]
pub(super) struct Pairs(String);

impl Pairs {
    pub(super) fn of(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// A pair; without a value there is none.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            let sign = if self.0.contains('?') { '&' } else { '?' };
            self.0.extend([&*sign.to_string(), name, "=", &encoded(value)]);
        }
        self
    }

    pub(super) fn into_path(self) -> String {
        self.0
    }
}
