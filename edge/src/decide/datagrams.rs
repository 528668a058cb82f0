//! How datagrams leave together, and why some do not leave. Pure.
//!
//! Keeps: what leaves as one piece comes apart into the datagrams that it was made of, in their order and sizes.

/// Most datagrams in one piece: what every kernel with UDP_SEGMENT takes (UDP_MAX_SEGMENTS was 64 first).
const MAX_SEGMENTS: usize = 64;
/// Most bytes in one piece: the payload of an IPv4 datagram, for the pieces travel through the stack as one.
const MAX_BYTES: usize = 65_507;

/// What was received at once: a datagram, or several of one size and a last one that may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// All of its bytes.
    pub length: usize,
    /// The size of its datagrams; 0 where it is one.
    pub segment: u16,
}

impl Received {
    /// How many datagrams it is.
    pub fn count(self) -> usize {
        if self.segment == 0 { 1 } else { self.length.div_ceil(usize::from(self.segment)).max(1) }
    }
}

/// What is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Piece {
    /// The first of what was received that is in it.
    pub first: usize,
    /// How many of those, one after the other.
    pub parts: usize,
    /// The size that it comes apart by; 0 where it is one datagram.
    pub segment: u16,
    /// Its datagrams.
    pub datagrams: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// The longest piece that begins with the first of these, which stands at `first`; none if there are none. Without
/// `may_join` only what was received as one piece is sent as one.
pub fn next_piece(received: &[Received], first: usize, may_join: bool) -> Option<Piece> {
    let start = received.first()?;
    let alone = Piece { first, parts: 1, segment: start.segment, datagrams: start.count(), bytes: start.length };
    let Ok(segment) = u16::try_from(start.length) else { return Some(alone) };
    if !may_join || start.segment != 0 || segment == 0 {
        return Some(alone);
    }
    let mut piece = alone;
    for next in &received[1..] {
        let fits = piece.parts < MAX_SEGMENTS && piece.bytes + next.length <= MAX_BYTES;
        if next.segment != 0 || next.length == 0 || next.length > start.length || !fits {
            break;
        }
        piece.parts += 1;
        piece.datagrams += 1;
        piece.bytes += next.length;
        piece.segment = segment;
        // Only the last one may be shorter.
        if next.length < start.length {
            break;
        }
    }
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn pieces(received: &[Received], may_join: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut first = 0;
        while let Some(piece) = next_piece(&received[first..], first, may_join) {
            first += piece.parts;
            pieces.push(piece);
        }
        pieces
    }

    fn singles(lengths: &[usize]) -> Vec<Received> {
        lengths.iter().map(|length| Received { length: *length, segment: 0 }).collect()
    }

    #[test]
    fn runs_of_one_size_leave_together_with_a_shorter_one_behind_them() {
        let parts =
            |lengths: &[usize]| pieces(&singles(lengths), true).iter().map(|piece| piece.parts).collect::<Vec<_>>();
        assert_eq!(parts(&[100, 100, 100, 40, 100]), [4, 1]);
        assert_eq!(parts(&[40, 100, 100]), [1, 2]);
        assert_eq!(parts(&[0, 0, 7, 0]), [1, 1, 1, 1]);
        assert_eq!(parts(&[1; 130]), [64, 64, 2]);
        assert_eq!(parts(&[40_000, 40_000]), [1, 1]);
        assert_eq!(pieces(&singles(&[9, 9]), false).len(), 2);
    }

    #[test]
    fn what_came_as_one_piece_leaves_as_one() {
        let train = Received { length: 2500, segment: 1200 };
        assert_eq!(train.count(), 3);
        let all = pieces(&[train, Received { length: 1200, segment: 0 }], true);
        assert_eq!(
            all.iter().map(|piece| (piece.parts, piece.segment, piece.datagrams)).collect::<Vec<_>>(),
            [(1, 1200, 3), (1, 0, 1)]
        );
    }

    proptest! {
        #[test]
        fn pieces_come_apart_into_what_they_were_made_of(
            lengths in prop::collection::vec(prop_oneof![Just(0_usize), Just(64), 1_usize..2000, Just(65_507)], 0..200)
        ) {
            let received = singles(&lengths);
            let mut apart = Vec::new();
            for piece in pieces(&received, true) {
                prop_assert_eq!(piece.bytes, lengths[piece.first..piece.first + piece.parts].iter().sum::<usize>());
                prop_assert!(piece.datagrams <= MAX_SEGMENTS && piece.bytes <= MAX_BYTES);
                if piece.segment == 0 {
                    apart.push(piece.bytes);
                    continue;
                }
                let mut rest = piece.bytes;
                while rest > 0 {
                    let next = rest.min(piece.segment.into());
                    apart.push(next);
                    rest -= next;
                }
            }
            prop_assert_eq!(apart, lengths);
        }
    }
}
