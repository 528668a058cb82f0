//! Reads the name that a TLS client asks for, from the bytes that it has sent so far. Pure.
//!
//! Unlike a TLS library it reads only what leads to the name, across records, and accepts whatever does not stand in its
//! way, because the target is the one to judge a hello. RFC 8446 §4.1.2 and RFC 6066 §3 have the layout, RFC 5246
//! appendix E.2 the form of SSL 2.0.
//!
//! Keeps: bytes that somebody made up are never read beyond their end and never cause a panic; a hello is decided
//! once it is whole, and not before; reading again pays only once [`Hello::Incomplete`] has as many bytes as it needs.

use std::borrow::Cow;

/// A hello may have so many bytes, the headers of its records included.
pub const MAX_HELLO: usize = 64 << 10;

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
/// The content type of records that carry a handshake.
const HANDSHAKE: u8 = 0x16;
/// The handshake message that a client begins with, also in the form of SSL 2.0.
const CLIENT_HELLO: u8 = 1;
/// The extension that holds the name.
const SERVER_NAME: u16 = 0;
/// The only kind of name that there is.
const HOST_NAME: u8 = 0;
/// `legacy_version` and `random`.
const FIXED: usize = 2 + 32;

/// The record that tells a client that nobody has the name which it asks for: fatal, `unrecognized_name`.
pub const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// What the bytes of a client are, as far as it has sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello<'a> {
    /// The beginning of a hello, or too few bytes to tell. It cannot be whole before there are `needs` bytes.
    Incomplete {
        /// Always more than there are.
        needs: usize,
    },
    /// Something else.
    NotTls,
    /// A hello that is longer than [`MAX_HELLO`].
    TooLarge,
    /// A whole hello, with the name as the client wrote it.
    Whole(Option<Cow<'a, [u8]>>),
}

/// True if the bytes are, or may become, those of a TLS client: one that understands an alert.
pub fn is_tls(bytes: &[u8]) -> bool {
    match read(bytes) {
        Hello::Incomplete { .. } => !bytes.is_empty(),
        Hello::NotTls => false,
        Hello::TooLarge | Hello::Whole(_) => true,
    }
}

/// Reads the bytes of a client from its first one on.
pub fn read(bytes: &[u8]) -> Hello<'_> {
    let bytes = &bytes[..bytes.len().min(MAX_HELLO)];
    let hello = match bytes.first() {
        None => Hello::Incomplete { needs: 1 },
        Some(&HANDSHAKE) => read_records(bytes),
        Some(first) if first & 0x80 != 0 => read_ssl2(bytes),
        Some(_) => Hello::NotTls,
    };
    match hello {
        Hello::Incomplete { needs } if needs > MAX_HELLO => Hello::TooLarge,
        hello => hello,
    }
}

/// A hello in the form of SSL 2.0, which has no name. Two bytes of length come first.
fn read_ssl2(bytes: &[u8]) -> Hello<'_> {
    let is_hello = bytes.get(2).is_none_or(|kind| *kind == CLIENT_HELLO);
    let is_version = match (bytes.get(3), bytes.get(4)) {
        (Some(0), Some(minor)) => *minor == 2,
        (Some(major), _) => matches!(major, 0 | 3),
        (None, _) => true,
    };
    if !is_hello || !is_version {
        return Hello::NotTls;
    }
    let [first, second, _, _, _, ..] = bytes else { return Hello::Incomplete { needs: RECORD_HEADER } };
    let end = 2 + usize::from(u16::from_be_bytes([first & 0x7f, *second]));
    if bytes.len() < end { Hello::Incomplete { needs: end } } else { Hello::Whole(None) }
}

/// A hello in records, each with a header of its own.
fn read_records(bytes: &[u8]) -> Hello<'_> {
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut start = 0;
    loop {
        let header = &bytes[start..bytes.len().min(start + RECORD_HEADER)];
        let is_first = start == 0;
        let is_handshake = header.first().is_none_or(|kind| *kind == HANDSHAKE);
        let is_version = header.get(1).is_none_or(|major| *major == 3);
        if !is_handshake || !is_version {
            // In the middle of a hello it is one that cannot become whole, and nothing has named anything.
            return if is_first { Hello::NotTls } else { Hello::Whole(None) };
        }
        let &[_, _, _, high, low] = header else {
            return Hello::Incomplete { needs: start + RECORD_HEADER + missing(&message).max(1) };
        };
        let payload = start + RECORD_HEADER;
        let end = payload + usize::from(u16::from_be_bytes([high, low]));
        let present = &bytes[payload..end.min(bytes.len())];
        if message.is_empty() {
            message = Cow::Borrowed(present);
        } else {
            message.to_mut().extend_from_slice(present);
        }
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Hello::NotTls;
        }
        let missing = missing(&message);
        if missing == 0 {
            return Hello::Whole(name_of(message));
        }
        if bytes.len() < end {
            let in_others = missing.saturating_sub(end - bytes.len());
            let headers = in_others.div_ceil(usize::from(u16::MAX)) * RECORD_HEADER;
            return Hello::Incomplete { needs: bytes.len() + missing + headers };
        }
        start = end;
    }
}

/// Bytes that a handshake message lacks, at least.
fn missing(message: &[u8]) -> usize {
    length(message).unwrap_or(HANDSHAKE_HEADER).saturating_sub(message.len())
}

/// The length of a handshake message, its header included.
fn length(message: &[u8]) -> Option<usize> {
    let [_, high, middle, low, ..] = message else { return None };
    Some(HANDSHAKE_HEADER + u32::from_be_bytes([0, *high, *middle, *low]) as usize)
}

fn name_of(message: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let whole = length(&message)?;
    match message {
        Cow::Borrowed(message) => name_in(&message[HANDSHAKE_HEADER..whole]).map(Cow::Borrowed),
        Cow::Owned(message) => name_in(&message[HANDSHAKE_HEADER..whole]).map(|name| Cow::Owned(name.to_vec())),
    }
}

/// The name in a hello. What claims to be longer than what it is in ends with that.
fn name_in(body: &[u8]) -> Option<&[u8]> {
    let mut body = Fields(body);
    body.take(FIXED)?;
    let session = body.byte()?;
    body.take(session.into())?;
    let suites = body.number()?;
    body.take(suites.into())?;
    let compressions = body.byte()?;
    body.take(compressions.into())?;
    let length = body.number()?;
    let mut extensions = body.up_to(length);
    loop {
        let kind = extensions.number()?;
        let length = extensions.number()?;
        let content = extensions.up_to(length);
        if kind == SERVER_NAME {
            return host_name_in(content);
        }
    }
}

/// The first host name of the extension.
fn host_name_in(mut content: Fields<'_>) -> Option<&[u8]> {
    let length = content.number()?;
    let mut names = content.up_to(length);
    loop {
        let kind = names.byte()?;
        let length = names.number()?;
        let name = names.take(length.into())?;
        if kind == HOST_NAME {
            return (!name.is_empty()).then_some(name);
        }
    }
}

/// Bytes that are read from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|taken| u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn up_to(&mut self, count: u16) -> Self {
        let (taken, rest) = self.0.split_at(self.0.len().min(count.into()));
        self.0 = rest;
        Self(taken)
    }
}

#[cfg(test)]
mod tests;
