//! Bytes of an event stream in, events out, by the rules of the HTML standard. Must not know what
//! the events mean.

use bytes::{Buf, BytesMut};

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An event.
    Named {
        /// Its type; `message` where it has none.
        kind: String,
        /// The last id that was told.
        id: String,
        /// Its lines.
        data: Vec<u8>,
    },
    /// How long to wait before coming back, ms.
    Retry(u32),
}

/// See the file header. It holds one event that is not whole.
#[derive(Debug, Default)]
pub struct Events {
    rest: BytesMut,
    /// Bytes of the rest in which no line ends.
    scanned: usize,
    id: String,
    kind: String,
    data: Option<Vec<u8>>,
}

impl Events {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Bytes that are held: whoever pushes bounds them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rest.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    /// The next that is whole.
    pub fn pop(&mut self) -> Option<Event> {
        while let Some(line) = self.line() {
            if let Some(event) = self.take(&line) {
                return Some(event);
            }
        }
        None
    }

    fn line(&mut self) -> Option<BytesMut> {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let Some(at) = self.rest.iter().skip(self.scanned).position(is_end) else {
            self.scanned = self.rest.len();
            return None;
        };
        let at = self.scanned + at;
        let length = match self.rest.get(at..at + 2) {
            Some(b"\r\n") => 2,
            // It may be the first half of one.
            None if self.rest.get(at) == Some(&b'\r') => {
                self.scanned = at;
                return None;
            }
            _ => 1,
        };
        let line = self.rest.split_to(at);
        self.rest.advance(length);
        self.scanned = 0;
        Some(line)
    }

    fn take(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(at);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            b"id" => self.id = String::from_utf8_lossy(value).into_owned(),
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"retry" => {
                return std::str::from_utf8(value).ok()?.parse().ok().map(Event::Retry);
            }
            // A comment, or what a later standard says.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let mut kind = std::mem::take(&mut self.kind);
        if kind.is_empty() {
            "message".clone_into(&mut kind);
        }
        let data = self.data.take()?;
        Some(Event::Named { kind, id: self.id.clone(), data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = ": ping\n\nretry: 3000\n\nid: k1-1\ndata: one\ndata:two\n\n\
                          event: binary\nid: k1-2\ndata: MTIz\n\nevent: gap\n\nid\r\ndata\r\r\n";

    fn named(kind: &str, id: &str, data: &str) -> Event {
        Event::Named { kind: kind.to_owned(), id: id.to_owned(), data: data.into() }
    }

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut events, mut read) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece);
            read.extend(std::iter::from_fn(|| events.pop()));
        }
        read
    }

    #[test]
    fn events_are_those_of_the_standard() {
        let expected = [
            Event::Retry(3000),
            named("message", "k1-1", "one\ntwo"),
            named("binary", "k1-2", "MTIz"),
            named("message", "", ""),
        ];
        assert_eq!(read(&[STREAM.as_bytes()]), expected);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(cuts in proptest::collection::vec(0..120_usize, 0..9)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(STREAM.len())).collect();
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let bytes = STREAM.as_bytes();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            read(&[&bytes]);
        }
    }
}
