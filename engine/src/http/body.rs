//! Request bodies: how one is delimited, and reading it without knowing where it comes from.
//! A body whose end two readers could see in different places is refused (request smuggling).

pub mod packing;

use crate::http::refusal::Refusal;
use crate::http::request::{Request, has_token};
use crate::http::status::Status;

/// The longest line that announces a chunk, and the longest trailer section, bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length` bytes.
    Length(u64),
    /// Chunks up to an empty one.
    Chunked,
}

impl Framing {
    /// Reads the two headers that matter.
    ///
    /// # Errors
    /// 400 where they contradict each other or themselves, 501 for another transfer coding.
    pub fn of(request: &Request) -> Result<Self, Refusal> {
        let headers = &request.headers;
        match (headers.transfer_encoding.as_deref(), headers.content_length.as_deref()) {
            (None, None) => Ok(Self::None),
            (Some(_), Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
            (Some(_), None) if !request.is_http_11 => {
                Err(Refusal::bad("Transfer-Encoding in an HTTP/1.0 request"))
            }
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Self::Chunked),
            (coding @ Some(_), None) if has_token(coding, "chunked") => {
                Err(Refusal::bad("`chunked` beside other transfer codings"))
            }
            (Some(_), None) => {
                Err(Refusal::new(Status::NotImplemented, "the one transfer coding is `chunked`"))
            }
            (None, Some(length)) => parse_length(length),
        }
    }

    /// Whether the head is followed by any byte of this request.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// A body being read.
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
    payload: Vec<u8>,
    bytes_max: u32,
}

/// How far `Body::read` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The bytes taken from the start of the buffer.
    pub consumed: usize,
    /// Whether the body is complete; what follows belongs to the next request.
    pub is_complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length { left: u64 },
    ChunkLine,
    Chunk { left: u64 },
    ChunkEnd,
    Trailer { seen: usize },
    Complete,
}

impl Body {
    /// A body of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 411 without a length, 413 for an announced length above the limit.
    pub fn new(framing: Framing, bytes_max: u32) -> Result<Self, Refusal> {
        let state = match framing {
            Framing::None => {
                let message = "a body needs Content-Length or Transfer-Encoding: chunked";
                return Err(Refusal::new(Status::LengthRequired, message));
            }
            Framing::Length(0) => State::Complete,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkLine,
        };
        let body = Self { state, payload: Vec::new(), bytes_max };
        if let State::Length { left } = state {
            body.check_room(left)?;
        }
        Ok(body)
    }

    /// Takes what it can from `buf`. The rest, at most one incomplete line, is given again with
    /// more behind it.
    ///
    /// # Errors
    /// 400 for a broken chunk, 413 above the limit.
    pub fn read(&mut self, buf: &[u8]) -> Result<Progress, Refusal> {
        let mut rest = buf;
        while self.state != State::Complete {
            let before = (rest.len(), self.state);
            rest = self.step(rest)?;
            if before == (rest.len(), self.state) {
                break;
            }
        }
        let is_complete = self.state == State::Complete;
        Ok(Progress { consumed: buf.len() - rest.len(), is_complete })
    }

    /// Bytes of user memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.payload.capacity()
    }

    /// The payload read, taken out.
    #[must_use]
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    /// The payload read.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.payload
    }

    fn step<'b>(&mut self, buf: &'b [u8]) -> Result<&'b [u8], Refusal> {
        match self.state {
            State::Length { left } => {
                self.grow_towards(left, buf.len());
                let (left, rest) = self.take(buf, left);
                self.state = if left == 0 { State::Complete } else { State::Length { left } };
                Ok(rest)
            }
            State::Chunk { left } => {
                let (left, rest) = self.take(buf, left);
                self.state = if left == 0 { State::ChunkEnd } else { State::Chunk { left } };
                Ok(rest)
            }
            State::ChunkLine => self.chunk_line(buf),
            State::ChunkEnd => self.chunk_end(buf),
            State::Trailer { seen } => self.trailer(buf, seen),
            State::Complete => Ok(buf),
        }
    }

    /// Makes room for what is here: by doubling, because what was announced need not come, but
    /// never beyond that.
    fn grow_towards(&mut self, left: u64, here: usize) {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let here = here.min(left);
        if self.payload.len() + here > self.payload.capacity() {
            self.payload.reserve_exact(here.max(self.payload.len()).min(left));
        }
    }

    fn take<'b>(&mut self, buf: &'b [u8], left: u64) -> (u64, &'b [u8]) {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (taken, rest) = buf.split_at(here);
        self.payload.extend_from_slice(taken);
        (left - here as u64, rest)
    }

    fn chunk_line<'b>(&mut self, buf: &'b [u8]) -> Result<&'b [u8], Refusal> {
        let Some((line, rest)) = split_line(buf)? else {
            return Ok(buf);
        };
        let left = parse_chunk_size(line).ok_or(Refusal::bad("malformed chunk size"))?;
        self.check_room(left)?;
        self.state = if left == 0 { State::Trailer { seen: 0 } } else { State::Chunk { left } };
        Ok(rest)
    }

    fn chunk_end<'b>(&mut self, buf: &'b [u8]) -> Result<&'b [u8], Refusal> {
        match buf {
            [b'\r', b'\n', rest @ ..] => {
                self.state = State::ChunkLine;
                Ok(rest)
            }
            [] | [b'\r'] => Ok(buf),
            _ => Err(Refusal::bad("chunk longer than announced")),
        }
    }

    /// Trailers are read and dropped.
    fn trailer<'b>(&mut self, buf: &'b [u8], seen: usize) -> Result<&'b [u8], Refusal> {
        let Some((line, rest)) = split_line(buf)? else {
            return Ok(buf);
        };
        let seen = seen + line.len();
        if seen > CHUNK_LINE_BYTES_MAX {
            return Err(Refusal::bad("trailer section too long"));
        }
        self.state =
            if line.is_empty() { State::Complete } else { State::Trailer { seen: seen + 2 } };
        Ok(rest)
    }

    fn check_room(&self, more: u64) -> Result<(), Refusal> {
        if more.saturating_add(self.payload.len() as u64) > u64::from(self.bytes_max) {
            let message = format!("body above {} bytes", self.bytes_max);
            return Err(Refusal::new(Status::ContentTooLarge, message));
        }
        Ok(())
    }
}

/// Digits only: the standard parser would also take a sign.
fn parse_length(text: &str) -> Result<Framing, Refusal> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let length = text.parse().ok().filter(|_| is_number);
    length.map(Framing::Length).ok_or(Refusal::bad("malformed Content-Length"))
}

type LineAndRest<'b> = (&'b [u8], &'b [u8]);

/// A line without its CRLF. A lone CR or LF ends no line here, because it does elsewhere.
fn split_line(buf: &[u8]) -> Result<Option<LineAndRest<'_>>, Refusal> {
    let seen = buf.get(..CHUNK_LINE_BYTES_MAX + 2).unwrap_or(buf);
    match seen.iter().position(|&b| b == b'\r' || b == b'\n') {
        Some(at) if at <= CHUNK_LINE_BYTES_MAX => match buf.split_at(at) {
            (line, [b'\r', b'\n', rest @ ..]) => Ok(Some((line, rest))),
            (_, [b'\r']) => Ok(None),
            _ => Err(Refusal::bad("line of a chunked body does not end in CRLF")),
        },
        None if seen.len() <= CHUNK_LINE_BYTES_MAX => Ok(None),
        // The same line must be refused whether or not its end is there already.
        _ => Err(Refusal::bad("line of a chunked body too long")),
    }
}

/// One to sixteen hexadecimal digits; extensions after `;` are ignored (RFC 9112 section 7.1.1).
fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line.split(|&b| b == b';').next()?).ok()?.trim_end();
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framing(headers: &str) -> Result<Framing, u16> {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (request, _) = Request::parse(text.as_bytes(), 4096).unwrap().unwrap();
        Framing::of(&request).map_err(|refusal| refusal.status.number())
    }

    /// Reads `bytes` in pieces; returns the payload and what follows the body.
    fn read(framing: Framing, bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let number = |refusal: Refusal| refusal.status.number();
        let mut body = Body::new(framing, 100).map_err(number)?;
        let mut start = 0;
        let mut end = 0;
        loop {
            let progress = body.read(&bytes[start..end]).map_err(number)?;
            start += progress.consumed;
            if progress.is_complete {
                return Ok(Some((body.into_bytes(), bytes.len() - start)));
            }
            if end == bytes.len() {
                return Ok(None);
            }
            end = (end + step).min(bytes.len());
        }
    }

    #[test]
    fn framing_is_read_and_smuggling_refused() {
        assert_eq!(framing(""), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for (headers, status) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: 99999999999999999999\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: gzip\r\n", 501),
        ] {
            assert_eq!(framing(headers), Err(status), "{headers}");
        }
    }

    #[test]
    fn both_forms_end_where_they_say() {
        let chunked = b"3;ext=\"x\"\r\nabc\r\n00a\r\n0123456789\r\n0\r\nT: x\r\n\r\nNEXT";
        for step in 1..chunked.len() {
            assert_eq!(
                read(Framing::Chunked, chunked, step),
                Ok(Some((b"abc0123456789".to_vec(), 4))),
                "{step}"
            );
        }
        assert_eq!(read(Framing::Length(3), b"abcNEXT", 100), Ok(Some((b"abc".to_vec(), 4))));
        assert_eq!(read(Framing::Length(0), b"", 1), Ok(Some((vec![], 0))));
        assert_eq!(read(Framing::Length(4), b"abc", 1), Ok(None));
    }

    #[test]
    fn limits_hold_before_the_bytes_are_there() {
        assert_eq!(read(Framing::None, b"", 1), Err(411));
        assert_eq!(read(Framing::Length(101), b"", 1), Err(413));
        assert_eq!(read(Framing::Chunked, b"65\r\n", 1), Err(413));
        assert_eq!(read(Framing::Chunked, b"ffffffffffffffff\r\n", 1), Err(413));
        assert_eq!(read(Framing::Chunked, &[b'1'; 300], 1), Err(400));
        let trailers = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(100)].concat();
        assert_eq!(read(Framing::Chunked, &trailers, 1), Err(400));
    }

    #[test]
    fn a_line_is_too_long_however_reads_cut_it() {
        for (filler, expected) in [
            (CHUNK_LINE_BYTES_MAX - 2, Ok(Some((b"a".to_vec(), 0)))),
            (CHUNK_LINE_BYTES_MAX - 1, Err(400)),
        ] {
            let line = format!("1;{}", "x".repeat(filler));
            let bytes = format!("{line}\r\na\r\n0\r\n\r\n").into_bytes();
            for step in [1, 7, bytes.len()] {
                assert_eq!(read(Framing::Chunked, &bytes, step), expected, "{filler} by {step}");
            }
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bytes in
            [b"\r\n\r\n".as_slice(), b"+1\r\n", b"0x1\r\n", b"1\na\r\n", b"1\r\nab\r\n", b"1\rX"]
        {
            assert_eq!(read(Framing::Chunked, bytes, 1), Err(400), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_payload_back(
            chunks in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..9), 0..8),
            step in 1_usize..20,
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read(Framing::Chunked, &bytes, step), Ok(Some((chunks.concat(), 0))));
        }

        #[test]
        fn noise_never_panics(bytes in "[0-9a-f;\r\n ]{0,60}", step in 1_usize..20) {
            let outcome = read(Framing::Chunked, bytes.as_bytes(), step);
            prop_assert_eq!(outcome, read(Framing::Chunked, bytes.as_bytes(), bytes.len().max(1)));
        }
    }
}
