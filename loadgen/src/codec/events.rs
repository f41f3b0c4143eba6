//! Parses a stream of Server-Sent Events read from a socket: removes the HTTP chunking and
//! assembles events. Pure; must not judge events, and must not know sockets.

use std::fmt;

use crate::codec::envelope;
use crate::codec::wire::Gap;

/// The parser state that one socket keeps between reads.
#[derive(Debug, Default)]
pub struct EventStream {
    is_chunked: bool,
    chunk: Chunk,
    /// Bytes of an incomplete event.
    rest: Vec<u8>,
}

/// The position in the chunked stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Chunk {
    /// In a size line; the value parsed so far.
    #[default]
    Start,
    Size(u64),
    /// In the chunk extension after a size.
    Extension(u64),
    /// In chunk data; the bytes left.
    Data(u64),
    /// In the line end after chunk data.
    End,
    /// After the last chunk.
    Over,
}

/// Why a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamEnd {
    /// The server ended it.
    #[error("eof")]
    Ended,
    /// Invalid HTTP chunking.
    #[error("protocol: broken chunk")]
    Chunk,
    /// An event is longer than anything published.
    #[error("protocol: event longer than any published")]
    TooLong,
}

/// A place in a feed, written `{epoch}-{seq}`: a client that reconnects asks for what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// The life of the feed, written in base 36.
    pub epoch: u64,
    /// The frame's number.
    pub seq: u64,
}

impl EventId {
    /// The place that is written so.
    pub fn parse(id: &[u8]) -> Option<EventId> {
        let (epoch, seq) = std::str::from_utf8(id).ok()?.rsplit_once('-')?;
        Some(EventId { epoch: u64::from_str_radix(epoch, 36).ok()?, seq: seq.parse().ok()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut digits, mut rest) = (Vec::new(), self.epoch);
        loop {
            digits.push(char::from_digit((rest % 36) as u32, 36).unwrap_or('0'));
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        let epoch: String = digits.into_iter().rev().collect();
        write!(f, "{epoch}-{}", self.seq)
    }
}

/// One event.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A frame with its sequence number.
    Data {
        /// Its place in the feed, if it has one.
        id: Option<EventId>,
        /// The payload.
        payload: Vec<u8>,
    },
    /// Frames were skipped.
    Gap(Gap),
    /// The server's reason for ending the stream.
    Close(Option<u16>),
    /// A comment, a retry hint, or any other event.
    Other,
    /// An invalid event.
    Malformed,
}

impl EventStream {
    /// The state of a new stream.
    pub fn new(is_chunked: bool) -> EventStream {
        EventStream { is_chunked, ..EventStream::default() }
    }

    /// Parses bytes and passes every complete event, with its empty line, to `sink`.
    pub fn take(
        &mut self,
        bytes: &[u8],
        event_bytes_max: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), StreamEnd> {
        let mut left = bytes;
        while !left.is_empty() {
            let (data, after) = self.next_data(left)?;
            left = after;
            self.rest.extend_from_slice(data);
            let end = drain(&self.rest, &mut sink);
            self.rest.drain(..end);
            if self.rest.len() > event_bytes_max {
                return Err(StreamEnd::TooLong);
            }
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        if self.chunk == Chunk::Over { Err(StreamEnd::Ended) } else { Ok(()) }
    }

    /// The next bytes of the body, possibly none, and the rest of the input.
    fn next_data<'b>(&mut self, bytes: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), StreamEnd> {
        if !self.is_chunked {
            return Ok((bytes, &[]));
        }
        if let Chunk::Data(left) = self.chunk {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (data, after) = bytes.split_at(here);
            let left = left - here as u64;
            self.chunk = if left == 0 { Chunk::End } else { Chunk::Data(left) };
            return Ok((data, after));
        }
        let (byte, after) = bytes.split_first().ok_or(StreamEnd::Chunk)?;
        self.chunk = self.chunk.after(*byte)?;
        Ok((&[], after))
    }
}

impl Chunk {
    /// The state after one byte that is not data.
    fn after(self, byte: u8) -> Result<Chunk, StreamEnd> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self, byte, digit) {
            (Chunk::Start, _, Some(digit)) => Ok(Chunk::Size(digit)),
            (Chunk::Size(size), _, Some(digit)) if size <= SIZE_MAX => {
                Ok(Chunk::Size(size << 4 | digit))
            }
            (Chunk::Size(0) | Chunk::Extension(0), b'\n', _) => Ok(Chunk::Over),
            (Chunk::Size(size) | Chunk::Extension(size), b'\n', _) => Ok(Chunk::Data(size)),
            (Chunk::Size(size), b'\r' | b';' | b' ', _) => Ok(Chunk::Extension(size)),
            (Chunk::Extension(size), _, _) => Ok(Chunk::Extension(size)),
            (Chunk::End, b'\r', _) => Ok(Chunk::End),
            (Chunk::End, b'\n', _) => Ok(Chunk::Start),
            (Chunk::Over, _, _) => Ok(Chunk::Over),
            _ => Err(StreamEnd::Chunk),
        }
    }
}

/// Passes on every complete event; returns where the incomplete one begins.
fn drain(bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> usize {
    let (mut start, mut searched) = (0, 0);
    while let Some(found) = bytes.get(searched..).and_then(empty_line) {
        let end = searched + found;
        sink(bytes.get(start..end).unwrap_or_default());
        (start, searched) = (end, end);
    }
    start
}

/// Where the first empty line ends.
fn empty_line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2)
}

/// Parses one event.
pub fn read_event(event: &[u8]) -> Event {
    let (mut kind, mut id, mut data) = (&b""[..], None, None);
    for line in event.split(|byte| *byte == b'\n') {
        if let Some(value) = field(line, b"event:") {
            kind = value;
        } else if let Some(value) = field(line, b"id:") {
            id = EventId::parse(value);
        } else if let Some(value) = field(line, b"data:") {
            append_line(data.get_or_insert_default(), value);
        }
    }
    let Some(data) = data else { return Event::Other };
    match kind {
        b"" | b"message" => Event::Data { id, payload: data },
        b"binary" => match envelope::from_base64(&data) {
            Ok(payload) => Event::Data { id, payload },
            Err(_) => Event::Malformed,
        },
        b"gap" => match serde_json::from_slice(&data) {
            Ok(gap) => Event::Gap(gap),
            Err(_) => Event::Malformed,
        },
        b"close" => Event::Close(close_code(&data)),
        _ => Event::Other,
    }
}

fn field<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let value = line.strip_prefix(name)?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Several data lines form one text.
fn append_line(data: &mut Vec<u8>, line: &[u8]) {
    if !data.is_empty() {
        data.push(b'\n');
    }
    data.extend_from_slice(line);
}

fn close_code(data: &[u8]) -> Option<u16> {
    let told: serde_json::Value = serde_json::from_slice(data).ok()?;
    told.get("code")?.as_u64()?.try_into().ok()
}

/// The largest chunk size: one more hexadecimal digit must not overflow.
const SIZE_MAX: u64 = u64::MAX >> 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::wire::GapReason;
    use proptest::prelude::*;

    fn chunk(data: &str) -> String {
        format!("{:08x}\r\n{data}\r\n", data.len())
    }

    /// Feeds the bytes in pieces; what came out, and how it ended.
    fn events(stream: &str, pieces: &[usize]) -> (Vec<Event>, Result<(), StreamEnd>) {
        let mut events = vec![];
        let (mut source, mut at) = (EventStream::new(true), 0);
        for piece in pieces.iter().copied().chain([stream.len()]) {
            let end = (at + piece).min(stream.len());
            let taken = source.take(&stream.as_bytes()[at..end], 1000, |event| {
                events.push(read_event(event));
            });
            if taken.is_err() {
                return (events, taken);
            }
            at = end;
        }
        (events, Ok(()))
    }

    fn all() -> String {
        [
            chunk("id: k3-7\ndata: {\"f\":50}\n\n"),
            chunk("id: k3-8\nevent: binary\ndata: AP8=\n\n: ping\n\n"),
            chunk(
                "event: gap\ndata: {\"from\":2,\"to\":4,\"frames\":3,\"reason\":\"lagged\"}\n\n\
                 id: k3-9\nda",
            ),
            chunk("ta: two\ndata: lines\n\n"),
            chunk("event: close\ndata: {\"code\":4409,\"reason\":\"lagged\"}\n\n"),
        ]
        .concat()
    }

    #[test]
    fn events_are_read_whatever_the_chunks() {
        let (events, end) = events(&all(), &[]);
        let data = |seq, payload: &[u8]| Event::Data {
            id: Some(EventId { epoch: 20 * 36 + 3, seq }),
            payload: payload.into(),
        };
        let gap = Gap { from: 2, to: 4, frames: Some(3), reason: GapReason::Lost };
        assert_eq!(
            events,
            [
                data(7, b"{\"f\":50}"),
                data(8, &[0, 255]),
                Event::Other,
                Event::Gap(gap),
                data(9, b"two\nlines"),
                Event::Close(Some(4409)),
            ]
        );
        assert_eq!(end, Ok(()));
    }

    #[test]
    fn the_end_and_what_is_no_stream_are_noticed() {
        assert_eq!(events("00000000\r\n\r\n", &[]).1, Err(StreamEnd::Ended));
        assert_eq!(events("zz\r\n", &[]).1, Err(StreamEnd::Chunk));
        assert_eq!(events("1\r\nab", &[]).1, Err(StreamEnd::Chunk));
        assert_eq!(events(&chunk(&"x".repeat(2000)), &[]).1, Err(StreamEnd::TooLong));
        assert_eq!(read_event(b"event: binary\ndata: ?\n\n"), Event::Malformed);
    }

    #[test]
    fn an_idle_stream_holds_no_memory() {
        let mut stream = EventStream::new(true);
        stream.take(all().as_bytes(), 1000, |_| ()).unwrap();
        assert_eq!(stream.rest.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(pieces in prop::collection::vec(1usize..40, 0..30)) {
            prop_assert_eq!(events(&all(), &pieces), events(&all(), &[]));
        }

        #[test]
        fn no_bytes_make_it_panic(text in ".{0,80}") {
            let (found, _) = events(&text, &[3, 5]);
            prop_assert!(found.len() <= text.len());
        }
    }
}
