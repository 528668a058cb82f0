//! Writes of the store that happen together. Pure.

use std::sync::Arc;

/// What a batch asks of a key before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// There is no such key.
    Absent,
    /// The key has exactly this version.
    Version(u64),
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Prefixes of keys that are deleted before everything else.
    pub(super) cleared: Vec<String>,
    /// Keys, what is expected of each, and its new value; without one, it is deleted.
    pub(super) writes: Vec<Write>,
}

type Write = (String, Expect, Option<Arc<[u8]>>);

impl Batch {
    /// A batch without writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a value, whatever is there.
    #[must_use]
    pub fn put(self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.put_if(key, Expect::Anything, value)
    }

    /// Writes a value if the key is as expected.
    #[must_use]
    pub fn put_if(mut self, key: impl Into<String>, expect: Expect, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push((key.into(), expect, Some(value.into().into())));
        self
    }

    /// Writes a value that is shared with other readers, without copying it.
    #[must_use]
    pub fn put_shared(mut self, key: impl Into<String>, value: Arc<[u8]>) -> Self {
        self.writes.push((key.into(), Expect::Anything, Some(value)));
        self
    }

    /// Deletes a key, if it is there.
    #[must_use]
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.delete_if(key, Expect::Anything)
    }

    /// Deletes a key if it is as expected.
    #[must_use]
    pub fn delete_if(mut self, key: impl Into<String>, expect: Expect) -> Self {
        self.writes.push((key.into(), expect, None));
        self
    }

    /// Deletes all keys that start with the prefix, before the batch writes anything.
    #[must_use]
    pub fn delete_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.cleared.push(prefix.into());
        self
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.cleared.is_empty()
    }
}
