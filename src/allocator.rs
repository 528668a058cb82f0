//! Makes the allocator of a server give back what a peak took. I/O: the process starts itself once more.
//!
//! glibc raises the size from which memory is mapped, and so returned when it is freed, up to the largest block that was
//! freed: after one large upload, blocks of its size come from a heap that hardly ever shrinks. A fixed size keeps it from
//! that. Without unsafe code it can be set by the environment only, which is read before `main`.

use std::env;

use crate::environment;

/// What glibc reads; other libraries do not know it.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Blocks of a mebibyte and more are files, bodies and records.
const MAPPED: &str = "glibc.malloc.mmap_threshold=1048576";
/// Says that it was done: programs with capabilities of their own lose the other variable on the way.
const DONE: &str = "_PORTUNUS_ALLOCATOR";

/// Returns in a process that has the setting, one for which a person has set something, or where it is not possible.
pub(crate) fn settle() {
    if env::var_os(TUNABLES).is_none() && env::var_os(DONE).is_none() {
        environment::with(&[(TUNABLES, MAPPED), (DONE, "1")]);
    }
}
