//! Bytes that depend on their place: what is lost, doubled or out of order shows. Pure.

/// After so many bytes they repeat; a prime, so that no buffer size hides a shift.
pub const PERIOD: usize = 65_521;

/// One period and so many bytes more: a slice from any place below the period can be that long.
pub fn pattern(more: usize) -> Vec<u8> {
    // The multiplier is Knuth's for hashing: neighbours differ in all bits.
    (0..PERIOD + more).map(|at| (((at % PERIOD) as u32).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
