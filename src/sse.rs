//! Server-sent events out of a byte stream. Pure.
//!
//! Keeps: bytes may be cut anywhere; a message that grows without end is an error.

use std::collections::VecDeque;

/// A status of a thousand edges with a hundred rules each has some 60 MiB.
const LARGEST: usize = 512 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    /// Its kind, empty where none was given.
    pub(crate) event: String,
    /// Its id, empty where none was given.
    pub(crate) id: String,
    /// Its data; several lines are joined by line ends.
    pub(crate) data: String,
}

/// A message has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event with more than {LARGEST} bytes")]
pub(crate) struct TooLarge;

/// Collects bytes into messages.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    current: Message,
    has_data: bool,
    ready: VecDeque<Message>,
}

impl Parser {
    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.current.data.len() + part.len() > LARGEST {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            }
        }
        Ok(())
    }

    /// The next whole message.
    pub(crate) fn next(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let message = std::mem::take(&mut self.current);
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(message);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.current.event),
            "id" => value.clone_into(&mut self.current.id),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
            }
            // Comments, which have no name before the colon, are signs of life; unknown fields are to be ignored.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: edge\nid: 7\ndata: {\"ä\":\r\ndata: 1}\n\nretry: 5\n\ndata:x\n\ndata: cut";

    fn messages(chunk: usize) -> Vec<Message> {
        let mut parser = Parser::default();
        for part in STREAM.as_bytes().chunks(chunk) {
            parser.feed(part).expect("small");
        }
        std::iter::from_fn(|| parser.next()).collect()
    }

    #[test]
    fn messages_are_the_same_wherever_the_bytes_are_cut() {
        let all = messages(STREAM.len());
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], Message { event: "edge".into(), id: "7".into(), data: "{\"ä\":\n1}".into() });
        assert_eq!(all[1].data, "x");
        for chunk in 1..STREAM.len() {
            assert_eq!(messages(chunk), all, "chunks of {chunk}");
        }
    }
}
