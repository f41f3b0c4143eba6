//! RFC 6455 frames of the client side, as pure functions over bytes: masked encoding, and an
//! in-place scan of what a server sends. It shares no code with the engine's codec on purpose:
//! shared code would hide an engine bug. Must not know sockets, clocks or payloads.

use serde::Deserialize;

/// Opcodes a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A text message.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// Closing handshake.
    Close = 0x8,
    /// Answer to a ping.
    Pong = 0xA,
}

/// A complete frame or message from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A whole message, text or binary.
    Message(Message<'b>),
    /// A ping: must be answered with the same bytes.
    Ping(&'b [u8]),
    /// The server closes; `None` if it gave no code.
    Close(Option<u16>),
}

/// A whole message as it was on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'b> {
    /// The payload.
    pub bytes: &'b [u8],
    /// Whether it is text.
    pub is_text: bool,
    /// Whether it is compressed.
    pub is_deflated: bool,
}

/// Frames the server skipped for this socket, reported in a ping, a message or an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Gap {
    /// First sequence number skipped.
    pub from: u64,
    /// Last sequence number skipped.
    pub to: u64,
    /// Frames skipped, if the server knows. Sequence numbers are positions and do not tell it.
    pub frames: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: GapReason,
}

impl Gap {
    /// Whether the gap covers any frame.
    pub fn is_sound(&self) -> bool {
        self.from <= self.to
    }
}

/// Why frames were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The subscriber asked for the newest frame only.
    Conflated,
    /// Any other reason: the frames are lost.
    #[default]
    #[serde(other)]
    Lost,
}

/// A protocol error in the server's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Reserved bits set, or an unknown opcode.
    #[error("reserved bits or unknown opcode")]
    Reserved,
    /// The frame is masked; server frames must not be.
    #[error("masked server frame")]
    Masked,
    /// Longer than any frame this run's publishers send.
    #[error("message longer than any published")]
    TooLong,
    /// A control frame that is fragmented or longer than 125 bytes.
    #[error("malformed control frame")]
    Control,
    /// A continuation without a message, or a new message inside another.
    #[error("broken fragmentation")]
    Fragmentation,
}

/// Appends one unfragmented, masked frame.
pub fn encode(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(out.get_mut(start..).unwrap_or_default(), mask);
}

/// The gap that a ping reports, if it reports one.
pub fn gap_of(ping: &[u8]) -> Option<Gap> {
    #[derive(Deserialize)]
    struct Notice {
        gap: Gap,
    }
    ping.starts_with(b"{").then_some(())?;
    let notice: Notice = serde_json::from_slice(ping).ok()?;
    notice.gap.is_sound().then_some(notice.gap)
}

/// The counter name of a close code.
pub fn close_name(code: Option<u16>) -> String {
    code.map_or_else(|| "no code".to_string(), |code| code.to_string())
}

/// The scan state of one socket between reads; 16 bytes, unless a frame is incomplete or
/// fragmented.
#[derive(Debug, Default)]
pub struct Scanner {
    partial: Option<Box<Partial>>,
    takes_deflated: bool,
}

#[derive(Debug, Default)]
struct Partial {
    rest: Vec<u8>,
    /// The fragments received so far of an incomplete message.
    message: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    bytes: Vec<u8>,
    is_text: bool,
    is_deflated: bool,
}

impl Scanner {
    /// Allows compressed messages from now on.
    pub fn take_deflated(&mut self) {
        self.takes_deflated = true;
    }

    /// Whether messages may be compressed.
    pub fn takes_deflated(&self) -> bool {
        self.takes_deflated
    }

    /// Bytes of an incomplete frame. The caller puts them before the next bytes it reads.
    pub fn rest(&self) -> &[u8] {
        self.partial.as_ref().map_or(&[], |partial| &partial.rest)
    }

    /// Replaces the kept bytes with bytes that are not complete yet.
    pub fn keep(&mut self, rest: &[u8]) {
        let fragmented = self.partial.as_ref().is_some_and(|partial| partial.message.is_some());
        if rest.is_empty() && !fragmented {
            self.partial = None;
        } else {
            let kept = &mut self.partial.get_or_insert_default().rest;
            kept.clear();
            kept.extend_from_slice(rest);
        }
    }

    /// Passes every complete event in `bytes` (the kept rest, then the bytes read) to `sink` and
    /// keeps the incomplete rest. Bytes after a close are ignored.
    pub fn scan(
        &mut self,
        bytes: &[u8],
        message_bytes_max: usize,
        mut sink: impl FnMut(Event<'_>),
    ) -> Result<(), WireError> {
        let mut left = bytes;
        while let Some((frame, after)) = split_frame(left, message_bytes_max)? {
            left = after;
            let may_be_deflated = self.takes_deflated && matches!(frame.opcode, 1 | 2);
            if frame.is_deflated && !may_be_deflated {
                return Err(WireError::Reserved);
            }
            match frame.opcode {
                OPCODE_CLOSE => {
                    sink(Event::Close(close_code(frame.payload)));
                    left = &[];
                    break;
                }
                OPCODE_PING => sink(Event::Ping(frame.payload)),
                OPCODE_PONG => {}
                _ => self.message(frame, message_bytes_max, &mut sink)?,
            }
        }
        self.keep(left);
        Ok(())
    }

    fn message(
        &mut self,
        frame: Frame<'_>,
        message_bytes_max: usize,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), WireError> {
        let Frame { payload: bytes, is_deflated, .. } = frame;
        let is_text = frame.opcode == OPCODE_TEXT;
        let begun = self.partial.as_mut().and_then(|partial| partial.message.as_mut());
        match (begun, frame.opcode == OPCODE_CONTINUATION, frame.fin) {
            (None, false, true) => sink(Event::Message(Message { bytes, is_text, is_deflated })),
            (None, false, false) => {
                let fragments = Fragments { bytes: bytes.to_vec(), is_text, is_deflated };
                self.partial.get_or_insert_default().message = Some(fragments);
            }
            (Some(begun), true, fin) => {
                if begun.bytes.len() + bytes.len() > message_bytes_max {
                    return Err(WireError::TooLong);
                }
                begun.bytes.extend_from_slice(bytes);
                if let Some(partial) = self.partial.take_if(|_| fin)
                    && let Some(Fragments { bytes, is_text, is_deflated }) = &partial.message
                {
                    let (is_text, is_deflated) = (*is_text, *is_deflated);
                    sink(Event::Message(Message { bytes, is_text, is_deflated }));
                }
            }
            _ => return Err(WireError::Fragmentation),
        }
        Ok(())
    }
}

struct Frame<'b> {
    fin: bool,
    is_deflated: bool,
    opcode: u8,
    payload: &'b [u8],
}

/// The first frame of `bytes` and the rest; `None` while it is incomplete.
#[inline]
fn split_frame(
    bytes: &[u8],
    payload_bytes_max: usize,
) -> Result<Option<(Frame<'_>, &[u8])>, WireError> {
    let Some((&[first, second], body)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    let is_deflated = first & 0x40 != 0;
    if first & 0x30 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
        return Err(WireError::Reserved);
    }
    if second & 0x80 != 0 {
        return Err(WireError::Masked);
    }
    let (len, body) = match second {
        126 => match body.split_first_chunk::<2>() {
            Some((len, body)) => (u64::from(u16::from_be_bytes(*len)), body),
            None => return Ok(None),
        },
        127 => match body.split_first_chunk::<8>() {
            Some((len, body)) => (u64::from_be_bytes(*len), body),
            None => return Ok(None),
        },
        len => (u64::from(len), body),
    };
    if opcode >= OPCODE_CLOSE && (!fin || len > CONTROL_BYTES_MAX) {
        return Err(WireError::Control);
    }
    // Control frames have their own limit, whatever the limit of messages is.
    if opcode < OPCODE_CLOSE && len > payload_bytes_max as u64 {
        return Err(WireError::TooLong);
    }
    Ok(body
        .split_at_checked(len as usize)
        .map(|(payload, after)| (Frame { fin, is_deflated, opcode, payload }, after)))
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code))
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u32::from_ne_bytes(mask);
    let (words, rest) = payload.as_chunks_mut::<4>();
    words.iter_mut().for_each(|word| *word = (u32::from_ne_bytes(*word) ^ wide).to_ne_bytes());
    rest.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// The code of a normal close.
pub const NORMAL_CLOSURE: u16 = 1000;

const CONTROL_BYTES_MAX: u64 = 125;
const OPCODE_CONTINUATION: u8 = 0x0;
const OPCODE_TEXT: u8 = 0x1;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;

/// Masking hides nothing in a load test, so control frames and requests share one key.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 70_000;

    fn owned(event: Event<'_>) -> String {
        match event {
            Event::Message(Message { bytes, is_text, .. }) => {
                format!("message {is_text} {} {:?}", bytes.len(), bytes.last())
            }
            Event::Ping(bytes) => format!("ping {bytes:?}"),
            Event::Close(code) => format!("close {code:?}"),
        }
    }

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(len as u8),
            len @ 126..=0xFFFF => {
                out.push(126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    /// Feeds `stream` in the given pieces, as a socket would deliver them.
    fn feed(stream: &[u8], pieces: &[usize]) -> Result<Vec<String>, WireError> {
        let (mut scanner, mut events, mut at) = (Scanner::default(), vec![], 0);
        for piece in pieces.iter().copied().chain([stream.len()]) {
            let end = (at + piece).min(stream.len());
            let bytes = [scanner.rest(), &stream[at..end]].concat();
            scanner.scan(&bytes, MAX, |event| events.push(owned(event)))?;
            at = end;
        }
        assert_eq!(scanner.rest(), b"", "every stream here ends at a frame's end");
        Ok(events)
    }

    #[test]
    fn gap_notices_are_told_from_other_pings() {
        let notice = br#"{"gap":{"from":44,"to":90,"frames":40,"reason":"lagged"}}"#;
        let gap = |frames, reason| Some(Gap { from: 44, to: 90, frames, reason });
        assert_eq!(gap_of(notice), gap(Some(40), GapReason::Lost));
        assert_eq!(gap_of(br#"{"gap":{"from":44,"to":90}}"#), gap(None, GapReason::Lost));
        let conflated = br#"{"gap":{"from":44,"to":90,"frames":47,"reason":"conflated"}}"#;
        assert_eq!(gap_of(conflated), gap(Some(47), GapReason::Conflated));
        assert_eq!(gap_of(b"12345"), None);
        assert_eq!(gap_of(br#"{"gap":{"from":9,"to":3}}"#), None);
        assert_eq!(gap_of(b""), None);
    }

    #[test]
    fn close_codes_are_read_and_end_the_stream() {
        let stream = [server_frame(0x88, b"\x11\x39lagged"), vec![0xFF; 9]].concat();
        let mut events = vec![];
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(&stream, MAX, |event| events.push(owned(event))), Ok(()));
        assert_eq!((events, scanner.rest()), (vec!["close Some(4409)".to_string()], &b""[..]));
        assert_eq!(feed(&server_frame(0x88, b""), &[]), Ok(vec!["close None".to_string()]));
    }

    #[test]
    fn forbidden_bytes_are_errors() {
        let cases: [(&[u8], WireError); 8] = [
            (&[0xC1, 0], WireError::Reserved),
            (&[0x83, 0], WireError::Reserved),
            (&[0x81, 0x80], WireError::Masked),
            (&[0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0], WireError::TooLong),
            (&[0x09, 0], WireError::Control),
            (&[0x89, 126, 0, 200], WireError::Control),
            (&[0x80, 0], WireError::Fragmentation),
            (&[0x01, 0, 0x81, 0], WireError::Fragmentation),
        ];
        for (bytes, error) in cases {
            assert_eq!(Scanner::default().scan(bytes, MAX, |_| ()), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn fragments_are_bounded_together() {
        let piece = vec![7; MAX / 2 + 1];
        let stream = [server_frame(0x02, &piece), server_frame(0x80, &piece)].concat();
        assert_eq!(Scanner::default().scan(&stream, MAX, |_| ()), Err(WireError::TooLong));
    }

    #[test]
    fn only_the_first_frame_of_a_data_message_may_say_that_it_is_compressed() {
        let stream = [server_frame(0x42, b"ab"), server_frame(0x80, b"cd")].concat();
        assert_eq!(Scanner::default().scan(&stream, MAX, |_| ()), Err(WireError::Reserved));
        let mut scanner = Scanner::default();
        scanner.take_deflated();
        let mut heard = vec![];
        let scanned = scanner.scan(&stream, MAX, |event| match event {
            Event::Message(Message { bytes, is_text, is_deflated }) => {
                heard.push((bytes.to_vec(), is_text, is_deflated));
            }
            _ => panic!("a message"),
        });
        assert_eq!((scanned, heard), (Ok(()), vec![(b"abcd".to_vec(), false, true)]));
        for wrong in [server_frame(0xC9, b""), server_frame(0xC0, b"")] {
            assert_eq!(scanner.scan(&wrong, MAX, |_| ()), Err(WireError::Reserved));
        }
    }

    #[test]
    fn an_idle_scanner_holds_no_memory() {
        let mut scanner = Scanner::default();
        let stream = [server_frame(0x01, b"ab"), server_frame(0x80, b"cd")].concat();
        scanner.scan(&stream[..3], MAX, |_| ()).unwrap();
        assert!(scanner.partial.is_some());
        let bytes = [scanner.rest(), &stream[3..]].concat();
        scanner.scan(&bytes, MAX, |_| ()).unwrap();
        assert!(scanner.partial.is_none());
    }

    prop_compose! {
        fn frames()(
            kinds in prop::collection::vec((0u8..6, 0usize..300, any::<u8>()), 0..12),
        ) -> Vec<u8> {
            let payload = |len: usize, fill: u8| vec![fill; len];
            kinds
                .into_iter()
                .flat_map(|(kind, len, fill)| match kind {
                    0 => server_frame(0x81, &payload(len, fill)),
                    1 => server_frame(0x82, &payload(len * 230, fill)),
                    2 => server_frame(0x89, &payload(len % 126, fill)),
                    3 => server_frame(0x8A, b"pong"),
                    4 => [
                        server_frame(0x02, &payload(len, 1)),
                        server_frame(0x89, b"between"),
                        server_frame(0x00, &payload(len, 2)),
                        server_frame(0x80, &payload(1, fill)),
                    ]
                    .concat(),
                    _ => server_frame(0x82, &[]),
                })
                .collect()
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in frames(),
            pieces in prop::collection::vec(1usize..400, 0..40),
        ) {
            prop_assert_eq!(feed(&stream, &pieces), feed(&stream, &[]));
        }

        #[test]
        fn every_single_split_gives_the_same_events(fill: u8) {
            let stream = [
                server_frame(0x82, &[fill; 130]),
                server_frame(0x89, &[fill; 5]),
                server_frame(0x01, &[fill; 3]),
                server_frame(0x80, &[fill; 4]),
                server_frame(0x88, &[0x03, 0xE9]),
            ]
            .concat();
            let whole = feed(&stream, &[]);
            prop_assert_eq!(whole.as_ref().map(Vec::len), Ok(4));
            for cut in 0..stream.len() {
                prop_assert_eq!(feed(&stream, &[cut]), whole.clone(), "cut at {}", cut);
            }
        }

        #[test]
        fn masking_is_undone_by_masking(
            payload in prop::collection::vec(any::<u8>(), 0..400),
            mask: [u8; 4],
        ) {
            let mut out = vec![];
            encode(Opcode::Binary, &payload, mask, &mut out);
            let start = out.len() - payload.len();
            prop_assert_eq!(out[1] & 0x80, 0x80);
            prop_assert_eq!(&out[start - 4..start], &mask);
            apply_mask(&mut out[start..], mask);
            prop_assert_eq!(&out[start..], &payload);
        }

        #[test]
        fn no_bytes_make_the_scan_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanner = Scanner::default();
            if scanner.scan(&bytes, MAX, |_| ()).is_ok() {
                prop_assert!(scanner.rest().len() <= bytes.len());
            }
        }
    }
}
