//! Client frames: unmasks in place, joins fragments, and refuses whatever RFC 6455 forbids.
//! It owns the bytes of an unfinished message and nothing else; it reads no socket.

pub mod packing;

use crate::frame::{CONTROL_BYTES_MAX, Kind, mask};
use crate::wire::close::{Close, CloseCode};
use std::borrow::Cow;
use std::io;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The decoder of one connection: one pointer while no message is open.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    assembly: Option<Box<Assembly>>,
}

/// What `Decoder::next` found at the start of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'b> {
    /// The first frame is incomplete: it needs at least this many bytes in all.
    Need(usize),
    /// So many bytes of a data frame whose rest is still to come were taken in.
    Part(usize),
    /// A whole frame was read.
    Frame {
        /// The bytes it took from the start of the buffer.
        consumed: usize,
        /// What it said.
        event: Event<'b>,
    },
}

/// What a whole frame meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A complete message: borrowed from the buffer, or owned where it came in fragments, so
    /// that its memory is freed as soon as the receiver is done with it.
    Message {
        /// Text was checked to be UTF-8, unless it is deflated.
        kind: Kind,
        /// The unmasked payload.
        payload: Cow<'b, [u8]>,
        /// Whether the payload must be inflated first (RFC 7692 section 6.2).
        is_deflated: bool,
    },
    /// To be answered with a pong of the same payload.
    Ping(&'b [u8]),
    /// An answer to a ping, or an unasked one (RFC 6455 section 5.5.3).
    Pong(&'b [u8]),
    /// The client's side of the closing handshake.
    Close {
        /// The code, when there was one.
        code: Option<u16>,
        /// The reason, often empty.
        reason: &'b str,
    },
    /// A fragment that does not finish its message yet.
    Absorbed,
}

impl Decoder {
    /// Reads the first frame of `buf`, or as much of a data frame as is there: bad text shows as
    /// soon as it arrives. A header or control frame that is incomplete changes nothing, and the
    /// caller may call again with the same bytes and more. After an error the connection must be
    /// closed (RFC 6455 section 7.1.7) and the decoder not be used again. Messages may be deflated
    /// only where that `is_deflate_agreed`.
    ///
    /// # Errors
    /// The close to send: 1002, 1007 or 1009.
    pub fn next<'b>(
        &mut self,
        buf: &'b mut [u8],
        message_bytes_max: u32,
        is_deflate_agreed: bool,
    ) -> Result<Decoded<'b>, Close> {
        if let Some(assembly) = &mut self.assembly
            && let Some(open) = assembly.open.take()
        {
            return self.continue_frame(open, buf);
        }
        let Some(head) = Head::parse(buf, is_deflate_agreed)? else {
            return Ok(Decoded::Need(header_bytes(buf)));
        };
        self.check_order(head.opcode)?;
        self.check_size(&head, message_bytes_max)?;
        if buf.len() < head.bytes + head.len {
            return self.begin_part(&head, buf);
        }
        let payload = buf.get_mut(head.bytes..).unwrap_or_default();
        let payload = payload.get_mut(..head.len).unwrap_or_default();
        mask::apply(payload, head.mask);
        let event = self.accept(&head, payload)?;
        Ok(Decoded::Frame { consumed: head.bytes + head.len, event })
    }

    /// Takes in the beginning of a data frame.
    fn begin_part<'b>(&mut self, head: &Head, buf: &'b mut [u8]) -> Result<Decoded<'b>, Close> {
        let kind = match head.opcode {
            OpCode::Data(Data::Text) => Kind::Text,
            OpCode::Data(_) => Kind::Binary,
            OpCode::Control(_) => return Ok(Decoded::Need(head.bytes + head.len)),
        };
        // A continuation goes on with what there is, whatever kind that is.
        let is_deflated = head.is_deflated;
        self.assembly.get_or_insert_with(|| Box::new(Assembly::new(kind, is_deflated)));
        let open = OpenFrame { left: head.len, mask: head.mask, is_final: head.is_final };
        let taken = self.continue_frame(open, buf.get_mut(head.bytes..).unwrap_or_default())?;
        match taken {
            Decoded::Part(bytes) => Ok(Decoded::Part(head.bytes + bytes)),
            whole => Ok(whole),
        }
    }

    /// Takes in more of the frame that is open, and the rest of it if that is there.
    fn continue_frame<'b>(
        &mut self,
        open: OpenFrame,
        buf: &mut [u8],
    ) -> Result<Decoded<'b>, Close> {
        let bytes = open.left.min(buf.len());
        let part = buf.get_mut(..bytes).unwrap_or_default();
        mask::apply(part, open.mask);
        let OpenFrame { left, mut mask, is_final } = open;
        if bytes == left {
            let event = self.accept_more(is_final, part)?;
            return Ok(Decoded::Frame { consumed: bytes, event });
        }
        mask.rotate_left(bytes % 4);
        if let Some(assembly) = &mut self.assembly {
            assembly.append(part)?;
            assembly.open = Some(OpenFrame { left: left - bytes, mask, is_final });
        }
        Ok(Decoded::Part(bytes))
    }

    /// The bytes held for an unfinished message.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.payload.capacity())
    }

    /// RFC 6455 section 5.4: fragments of one message are not interleaved with another message.
    fn check_order(&self, opcode: OpCode) -> Result<(), Close> {
        match (opcode, &self.assembly) {
            (OpCode::Data(Data::Continue), None) => Err(protocol("continuation of no message")),
            (OpCode::Data(Data::Text | Data::Binary), Some(_)) => {
                Err(protocol("new message inside a fragmented one"))
            }
            _ => Ok(()),
        }
    }

    /// The size is judged by the header, before the payload costs any memory.
    fn check_size(&self, head: &Head, message_bytes_max: u32) -> Result<(), Close> {
        if matches!(head.opcode, OpCode::Control(_)) {
            return Ok(());
        }
        let held = self.assembly.as_ref().map_or(0, |assembly| assembly.payload.len());
        if held.saturating_add(head.len) > message_bytes_max as usize {
            let reason = format!("message above {message_bytes_max} bytes");
            return Err(Close::new(CloseCode::TooBig, reason));
        }
        Ok(())
    }

    fn accept<'b>(&mut self, head: &Head, payload: &'b [u8]) -> Result<Event<'b>, Close> {
        match head.opcode {
            OpCode::Data(Data::Text) => self.accept_first(Kind::Text, head, payload),
            OpCode::Data(Data::Binary) => self.accept_first(Kind::Binary, head, payload),
            OpCode::Data(Data::Continue) => self.accept_more(head.is_final, payload),
            OpCode::Control(Control::Ping) => Ok(Event::Ping(payload)),
            OpCode::Control(Control::Pong) => Ok(Event::Pong(payload)),
            OpCode::Control(Control::Close) => accept_close(payload),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                Err(protocol("reserved opcode"))
            }
        }
    }

    fn accept_first<'b>(
        &mut self,
        kind: Kind,
        head: &Head,
        payload: &'b [u8],
    ) -> Result<Event<'b>, Close> {
        let is_deflated = head.is_deflated;
        if !head.is_final {
            let mut assembly = Box::new(Assembly::new(kind, is_deflated));
            assembly.append(payload)?;
            self.assembly = Some(assembly);
            return Ok(Event::Absorbed);
        }
        if kind == Kind::Text && !is_deflated && std::str::from_utf8(payload).is_err() {
            return Err(CloseCode::InvalidText.into());
        }
        Ok(Event::Message { kind, payload: Cow::Borrowed(payload), is_deflated })
    }

    fn accept_more<'b>(&mut self, is_final: bool, payload: &[u8]) -> Result<Event<'b>, Close> {
        let Some(assembly) = &mut self.assembly else {
            return Err(protocol("continuation of no message"));
        };
        assembly.append(payload)?;
        match self.assembly.take_if(|_| is_final) {
            None => Ok(Event::Absorbed),
            Some(assembly) => assembly.finish(),
        }
    }
}

/// A data frame of which a part has arrived.
#[derive(Clone, Debug)]
struct OpenFrame {
    /// Bytes to come.
    left: usize,
    /// The key, turned to the next of them.
    mask: [u8; 4],
    is_final: bool,
}

/// An unfinished message.
#[derive(Clone, Debug)]
struct Assembly {
    kind: Kind,
    is_deflated: bool,
    payload: Vec<u8>,
    /// How much of the start of a text is known to be whole characters.
    text_bytes: usize,
    open: Option<OpenFrame>,
}

impl Assembly {
    fn new(kind: Kind, is_deflated: bool) -> Self {
        Self { kind, is_deflated, payload: Vec::new(), text_bytes: 0, open: None }
    }

    /// Bad text is refused in the fragment that shows it, not at the message's end.
    fn append(&mut self, fragment: &[u8]) -> Result<(), Close> {
        self.payload.extend_from_slice(fragment);
        if !self.is_plain_text() {
            return Ok(());
        }
        let unchecked = self.payload.get(self.text_bytes..).unwrap_or_default();
        match std::str::from_utf8(unchecked) {
            Ok(text) => self.text_bytes += text.len(),
            // A character cut by the fragment's border may be completed by the next one.
            Err(error) if error.error_len().is_none() => self.text_bytes += error.valid_up_to(),
            Err(_) => return Err(CloseCode::InvalidText.into()),
        }
        Ok(())
    }

    fn finish<'b>(self) -> Result<Event<'b>, Close> {
        if self.is_plain_text() && self.text_bytes != self.payload.len() {
            return Err(CloseCode::InvalidText.into());
        }
        let Self { kind, is_deflated, payload, .. } = self;
        Ok(Event::Message { kind, payload: Cow::Owned(payload), is_deflated })
    }

    /// Deflated text can be checked only when it is inflated.
    fn is_plain_text(&self) -> bool {
        self.kind == Kind::Text && !self.is_deflated
    }
}

/// A frame header that has passed every rule a header alone can break.
struct Head {
    opcode: OpCode,
    is_final: bool,
    is_deflated: bool,
    mask: [u8; 4],
    /// The header's own length.
    bytes: usize,
    /// The payload's length.
    len: usize,
}

impl Head {
    fn parse(buf: &[u8], is_deflate_agreed: bool) -> Result<Option<Self>, Close> {
        let mut cursor = io::Cursor::new(buf);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| protocol("reserved opcode"))?;
        let Some((header, len)) = parsed else {
            return Ok(None);
        };
        check_reserved_bits(&header, is_deflate_agreed)?;
        let mask = check_header(&header, len)?;
        let bytes = header.len(len);
        // Section 5.2: "the minimal number of bytes MUST be used to encode the length".
        if bytes as u64 != cursor.position() {
            return Err(protocol("length not in its shortest form"));
        }
        let len = usize::try_from(len).map_err(|_| CloseCode::TooBig)?;
        let FrameHeader { opcode, is_final, rsv1: is_deflated, .. } = header;
        Ok(Some(Self { opcode, is_final, is_deflated, mask, bytes, len }))
    }
}

/// Section 5.2: reserved bits are 0 unless an extension was negotiated. Deflate uses the first, on
/// the first frame of a message (RFC 7692 section 6.1).
fn check_reserved_bits(header: &FrameHeader, is_deflate_agreed: bool) -> Result<(), Close> {
    let begins_message = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
    let may_be_deflated = is_deflate_agreed && begins_message;
    if header.rsv1 && !may_be_deflated || header.rsv2 || header.rsv3 {
        return Err(protocol("reserved bit set without an extension"));
    }
    Ok(())
}

/// Returns the mask's key.
fn check_header(header: &FrameHeader, len: u64) -> Result<[u8; 4], Close> {
    // Section 5.1: "a server MUST close the connection upon receiving a frame that is not masked".
    let Some(mask) = header.mask else {
        return Err(protocol("client frame is not masked"));
    };
    // Section 5.2: "the most significant bit MUST be 0".
    if len > i64::MAX as u64 {
        return Err(protocol("length has its highest bit set"));
    }
    if matches!(header.opcode, OpCode::Control(_)) {
        // Section 5.5: at most 125 bytes, "and MUST NOT be fragmented".
        if len > CONTROL_BYTES_MAX as u64 {
            return Err(protocol("control frame above 125 bytes"));
        }
        if !header.is_final {
            return Err(protocol("fragmented control frame"));
        }
    }
    Ok(mask)
}

/// How long a masked header is, by its second byte; the shortest while that is missing.
fn header_bytes(buf: &[u8]) -> usize {
    match buf.get(1).map(|byte| byte & 0x7F) {
        Some(126) => 8,
        Some(127) => 14,
        _ => 6,
    }
}

/// RFC 6455 section 5.5.1: empty, or a code and a UTF-8 reason.
fn accept_close(payload: &[u8]) -> Result<Event<'_>, Close> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Event::Close { code: None, reason: "" })
        } else {
            Err(protocol("close payload of one byte"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_received(code) {
        return Err(protocol("close code that may not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| CloseCode::InvalidText)?;
    Ok(Event::Close { code: Some(code), reason })
}

/// RFC 6455 section 7.4 and the registry it founded: 1004-1006 and 1015 never travel, 1016-2999
/// are not given out, 3000-4999 belong to libraries and applications.
fn may_be_received(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

fn protocol(reason: &'static str) -> Close {
    Close::new(CloseCode::Protocol, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::protocol::frame::Frame;

    const MAX: u32 = 1 << 20;

    /// What a frame meant, owned, so that runs can be compared.
    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Message(Kind, Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>, String),
    }

    fn client_frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode: OpCode::from(opcode),
            mask: Some([0x12, 0xFE, 0x00, 0x80]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    /// Feeds `bytes` in pieces that end at `cuts`, like reads from a socket.
    fn decode(bytes: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<u16>) {
        let mut decoder = Decoder::default();
        let (mut buf, mut fed, mut seen) = (Vec::new(), 0, Vec::new());
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let cut = cut.clamp(fed, bytes.len());
            buf.extend_from_slice(&bytes[fed..cut]);
            fed = cut;
            if let Err(close) = drain(&mut decoder, &mut buf, &mut seen) {
                return (seen, Some(close.code.code()));
            }
        }
        (seen, None)
    }

    fn drain(decoder: &mut Decoder, buf: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<(), Close> {
        loop {
            let len = buf.len();
            match decoder.next(buf, MAX, false)? {
                Decoded::Need(need) => {
                    assert!(need > len, "asked for {need} with {len} there");
                    return Ok(());
                }
                Decoded::Part(bytes) => {
                    assert_eq!(bytes, len, "a part is all that is there");
                    buf.clear();
                    return Ok(());
                }
                Decoded::Frame { consumed, event } => {
                    match event {
                        Event::Message { kind, payload, .. } => {
                            seen.push(Seen::Message(kind, payload.into_owned()));
                        }
                        Event::Ping(payload) => seen.push(Seen::Ping(payload.to_vec())),
                        Event::Pong(payload) => seen.push(Seen::Pong(payload.to_vec())),
                        Event::Close { code, reason } => {
                            seen.push(Seen::Close(code, reason.to_owned()));
                        }
                        Event::Absorbed => {}
                    }
                    buf.drain(..consumed);
                }
            }
        }
    }

    fn code_of(bytes: &[u8]) -> Option<u16> {
        decode(bytes, &[]).1
    }

    #[test]
    fn only_the_first_frame_of_a_message_may_be_deflated_and_only_where_agreed() {
        let next = |first_byte: u8, agreed: bool| {
            let mut frame = client_frame(first_byte & 0x0F, first_byte & 0x80 != 0, b"\xFF");
            frame[0] = first_byte;
            let mut decoder = Decoder::default();
            if first_byte & 0x0F == 0 {
                decoder.next(&mut client_frame(2, false, b""), MAX, agreed).unwrap();
            }
            match decoder.next(&mut frame, MAX, agreed) {
                Ok(Decoded::Frame { event: Event::Message { is_deflated, .. }, .. }) => {
                    Ok(is_deflated)
                }
                Ok(_) => Ok(false),
                Err(close) => Err(close.code.code()),
            }
        };
        // Text is not checked before it is inflated.
        assert_eq!((next(0xC1, true), next(0xC2, true)), (Ok(true), Ok(true)));
        assert_eq!((next(0xC1, false), next(0x81, true)), (Err(1002), Err(1007)));
        assert_eq!((next(0xC0, true), next(0xC9, true)), (Err(1002), Err(1002)));
        assert_eq!((next(0xA2, true), next(0xD2, true)), (Err(1002), Err(1002)));
        assert_eq!(next(0x41, true), Ok(false), "a first fragment");
    }

    #[test]
    fn bad_text_is_refused_before_its_frame_is_whole() {
        let mut frame = client_frame(1, true, b"good\xF4\x90 and 100 bytes to come");
        let mut decoder = Decoder::default();
        assert_eq!(decoder.next(&mut frame[..10], MAX, false), Ok(Decoded::Part(10)));
        let mut byte = [frame[10]];
        assert_eq!(decoder.next(&mut byte, MAX, false), Ok(Decoded::Part(1)));
        let close = decoder.next(&mut [frame[11]], MAX, false).unwrap_err();
        assert_eq!(close.code, CloseCode::InvalidText);
    }

    #[test]
    fn fragments_of_a_deflated_text_are_joined_unchecked() {
        let mut decoder = Decoder::default();
        let mut first = client_frame(1, false, b"\xFF");
        first[0] |= 0x40;
        decoder.next(&mut first, MAX, true).unwrap();
        let mut last = client_frame(0, true, b"\xFE");
        let Ok(Decoded::Frame { event, .. }) = decoder.next(&mut last, MAX, true) else {
            panic!("no frame")
        };
        let payload = Cow::Borrowed(&b"\xFF\xFE"[..]);
        assert_eq!(event, Event::Message { kind: Kind::Text, payload, is_deflated: true });
    }

    #[test]
    fn an_idle_decoder_is_one_pointer_and_a_delivered_message_is_not_kept() {
        assert_eq!(size_of::<Decoder>(), 8);
        let mut decoder = Decoder::default();
        let mut first = client_frame(2, false, &[7; 1000]);
        assert!(matches!(
            decoder.next(&mut first, MAX, false),
            Ok(Decoded::Frame { event: Event::Absorbed, .. })
        ));
        assert!(decoder.held_bytes() >= 1000);
        decoder.next(&mut client_frame(0, true, &[]), MAX, false).unwrap();
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn headers_alone_are_refused() {
        for (what, bytes, code) in [
            ("unmasked", vec![0x81, 0x00], 1002),
            ("rsv1", vec![0xC1, 0x80, 0, 0, 0, 0], 1002),
            ("rsv2", vec![0xA1, 0x80, 0, 0, 0, 0], 1002),
            ("rsv3", vec![0x91, 0x80, 0, 0, 0, 0], 1002),
            ("reserved data opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
            ("reserved control opcode", vec![0x8B, 0x80, 0, 0, 0, 0], 1002),
            ("fragmented ping", vec![0x09, 0x80, 0, 0, 0, 0], 1002),
            ("long ping", vec![0x89, 0xFE, 0, 126, 0, 0, 0, 0], 1002),
            ("continuation of nothing", vec![0x80, 0x80, 0, 0, 0, 0], 1002),
            ("length not minimal", vec![0x82, 0xFE, 0, 5, 0, 0, 0, 0], 1002),
            ("highest bit", [[0x82, 0xFF, 0x80].as_slice(), &[0; 11]].concat(), 1002),
            (
                "too big",
                [[0x82, 0xFF].as_slice(), &[0, 0, 0, 0, 0, 16, 0, 1], &[0; 4]].concat(),
                1009,
            ),
        ] {
            assert_eq!(code_of(&bytes), Some(code), "{what}");
        }
    }

    #[test]
    fn order_and_size_of_fragments_are_checked() {
        let inside = [client_frame(1, false, b"a"), client_frame(1, true, b"b")].concat();
        assert_eq!(code_of(&inside), Some(1002));
        let mut big = client_frame(2, false, &vec![0; MAX as usize]);
        // Only the header of the second fragment is there: its payload is never waited for.
        big.extend_from_slice(&client_frame(0, true, &[1; 9])[..6]);
        assert_eq!(code_of(&big), Some(1009));
    }

    #[test]
    fn a_control_frame_may_come_between_fragments() {
        let bytes = [
            client_frame(1, false, "häll".as_bytes()),
            client_frame(9, true, b"there?"),
            client_frame(0, true, b"o"),
        ]
        .concat();
        let expected = vec![
            Seen::Ping(b"there?".to_vec()),
            Seen::Message(Kind::Text, "hällo".as_bytes().to_vec()),
        ];
        assert_eq!(decode(&bytes, &[]), (expected, None));
    }

    #[test]
    fn text_is_checked_across_fragments_and_fails_in_the_fragment_that_shows_it() {
        assert_eq!(code_of(&client_frame(1, true, &[0xFF])), Some(1007));
        assert_eq!(code_of(&client_frame(1, false, &[b'a', 0xC0])), Some(1007));
        // A character cut in two is good when completed, bad when the message ends in it.
        let cut = client_frame(1, false, &[0xC3]);
        let good = [cut.clone(), client_frame(0, true, &[0xA4])].concat();
        assert_eq!(
            decode(&good, &[]),
            (vec![Seen::Message(Kind::Text, "ä".as_bytes().to_vec())], None)
        );
        assert_eq!(code_of(&[cut.clone(), client_frame(0, true, &[])].concat()), Some(1007));
        assert_eq!(code_of(&[cut, client_frame(0, false, b"a")].concat()), Some(1007));
    }

    #[test]
    fn close_payloads_are_checked() {
        let close = |payload: &[u8]| decode(&client_frame(8, true, payload), &[]);
        assert_eq!(close(&[]).0, [Seen::Close(None, String::new())]);
        assert_eq!(close(b"\x03\xE8bye").0, [Seen::Close(Some(1000), "bye".into())]);
        assert_eq!(close(&[3]).1, Some(1002));
        assert_eq!(close(&[3, 0xE8, 0xFF]).1, Some(1007));
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert_eq!(close(&code.to_be_bytes()).1, Some(1002), "{code}");
        }
        for code in [1000_u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert_eq!(close(&code.to_be_bytes()).1, None, "{code}");
        }
    }

    fn message() -> impl Strategy<Value = Seen> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..400);
        prop_oneof![
            bytes().prop_map(|bytes| Seen::Message(Kind::Binary, bytes)),
            ".{0,200}".prop_map(|text| Seen::Message(Kind::Text, text.into_bytes())),
            proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Seen::Ping),
            proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Seen::Pong),
            (1000_u16..1004, ".{0,30}").prop_map(|(code, text)| Seen::Close(Some(code), text)),
        ]
    }

    /// The frames of one message, fragmented at `cut` where that is inside it.
    fn frames(seen: &Seen, cut: usize) -> Vec<u8> {
        let (opcode, payload) = match seen {
            Seen::Message(Kind::Text, payload) => (1, payload.clone()),
            Seen::Message(Kind::Binary, payload) => (2, payload.clone()),
            Seen::Ping(payload) => return client_frame(9, true, payload),
            Seen::Pong(payload) => return client_frame(10, true, payload),
            Seen::Close(code, reason) => {
                let code = code.unwrap_or_default().to_be_bytes();
                return client_frame(8, true, &[&code, reason.as_bytes()].concat());
            }
        };
        if cut >= payload.len() {
            return client_frame(opcode, true, &payload);
        }
        let (first, rest) = payload.split_at(cut);
        let (second, third) = rest.split_at(rest.len() / 2);
        [
            client_frame(opcode, false, first),
            client_frame(0, false, second),
            client_frame(0, true, third),
        ]
        .concat()
    }

    proptest! {
        #[test]
        fn a_client_library_is_understood_whatever_the_cuts(
            messages in proptest::collection::vec((message(), 0_usize..500), 1..6),
            mut cuts in proptest::collection::vec(0_usize..2000, 0..12),
        ) {
            cuts.sort_unstable();
            let bytes: Vec<u8> = messages.iter().flat_map(|(m, cut)| frames(m, *cut)).collect();
            let expected: Vec<Seen> = messages.into_iter().map(|(message, _)| message).collect();
            prop_assert_eq!(decode(&bytes, &cuts), (expected, None));
        }

        #[test]
        fn one_byte_at_a_time_is_the_same_as_all_at_once(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let cuts: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(decode(&bytes, &cuts), decode(&bytes, &[]));
        }

        #[test]
        fn noise_behind_a_legal_start_never_panics(
            opcode in 0_u8..16,
            len in 0_u8..=127,
            tail in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [&[0x80 | opcode, 0x80 | len], tail.as_slice()].concat();
            let (_, code) = decode(&bytes, &[]);
            prop_assert!(matches!(code, None | Some(1002 | 1007 | 1009)));
        }
    }
}
