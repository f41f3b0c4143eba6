//! Server frames: headers, whole control frames, and the length of a frame already encoded.
//! Server frames are never masked (RFC 6455 section 5.1) and never fragmented here.

use crate::frame::{CONTROL_BYTES_MAX, Kind, Opcode};
use arrayvec::ArrayVec;

/// A frame header: 2, 4 or 10 bytes.
pub type Header = ArrayVec<u8, HEADER_BYTES_MAX>;

/// A whole control frame: a header of 2 bytes and at most 125 of payload.
pub type Control = ArrayVec<u8, { 2 + CONTROL_BYTES_MAX }>;

/// The longest header of an unmasked frame, bytes.
pub const HEADER_BYTES_MAX: usize = 10;

/// The header of an unfragmented frame that carries `len` bytes, in the shortest of the three
/// forms of RFC 6455 section 5.2.
#[must_use]
pub fn header(opcode: Opcode, len: u64) -> Header {
    let mut header = Header::new();
    header.push(FIN | opcode as u8);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len), _) if len < LEN_16 => header.push(len),
        (_, Ok(len)) => {
            header.push(LEN_16);
            header.extend(len.to_be_bytes());
        }
        _ => {
            header.push(LEN_64);
            header.extend(len.to_be_bytes());
        }
    }
    header
}

/// The header of an unfragmented frame whose payload of `len` bytes is deflated: RSV1 is set
/// (RFC 7692 section 6).
#[must_use]
pub fn deflated_header(opcode: Opcode, len: u64) -> Header {
    let mut header = header(opcode, len);
    if let Some(first) = header.first_mut() {
        *first |= RSV1;
    }
    header
}

/// The total length, header included, of the server frame that starts at `bytes[0]`; `None`
/// while its header is incomplete. Only for bytes the engine encoded itself.
#[inline]
#[must_use]
pub fn frame_len(bytes: &[u8]) -> Option<u64> {
    match *bytes.get(1)? {
        len @ 0..LEN_16 => Some(2 + u64::from(len)),
        LEN_16 => {
            let len = bytes.get(2..4)?.first_chunk::<2>()?;
            Some(4 + u64::from(u16::from_be_bytes(*len)))
        }
        _ => {
            let len = bytes.get(2..10)?.first_chunk::<8>()?;
            u64::from_be_bytes(*len).checked_add(10)
        }
    }
}

/// The message in `frame`, one whole data frame the engine encoded itself; none for other frames.
#[must_use]
pub fn message(frame: &[u8]) -> Option<(Kind, &[u8])> {
    let kind = match frame.first()? & OPCODE {
        opcode if opcode == Opcode::Text as u8 => Kind::Text,
        opcode if opcode == Opcode::Binary as u8 => Kind::Binary,
        _ => return None,
    };
    let header_bytes = match *frame.get(1)? {
        0..LEN_16 => 2,
        LEN_16 => 4,
        _ => 10,
    };
    Some((kind, frame.get(header_bytes..)?))
}

/// A whole control frame. A payload above 125 bytes is cut, so that the frame stays legal.
#[must_use]
pub fn control(opcode: Opcode, payload: &[u8]) -> Control {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX, "callers pass what a control frame carried");
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    let mut frame: Control = header(opcode, payload.len() as u64).into_iter().collect();
    frame.extend(payload.iter().copied());
    frame
}

/// A close frame with `code` and as much of `reason` as fits, cut at a character's border.
#[must_use]
pub fn close(code: u16, reason: &str) -> Control {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    let mut payload = ArrayVec::<u8, CONTROL_BYTES_MAX>::from_iter(code.to_be_bytes());
    payload.extend(reason.bytes());
    control(Opcode::Close, &payload)
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const LEN_16: u8 = 126;
const LEN_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::protocol::frame::FrameHeader;

    #[test]
    fn length_forms_change_at_the_documented_borders() {
        for (len, header_bytes) in
            [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (u64::MAX >> 1, 10)]
        {
            let header = header(Opcode::Binary, len);
            assert_eq!(header.len(), header_bytes, "{len}");
            assert_eq!(frame_len(&header), Some(len + header_bytes as u64));
            for cut in 0..header.len() {
                assert_eq!(frame_len(&header[..cut]), None, "{len} cut at {cut}");
            }
        }
        assert_eq!(frame_len(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let frame = close(1001, &"ä".repeat(100));
        assert_eq!(frame_len(&frame), Some(frame.len() as u64));
        assert_eq!(&frame[2..4], 1001_u16.to_be_bytes().as_slice());
        assert_eq!(std::str::from_utf8(&frame[4..]).unwrap(), "ä".repeat(61));
    }

    proptest! {
        #[test]
        fn an_independent_parser_reads_the_header_back(len in any::<u64>(), text in any::<bool>()) {
            let opcode = if text { Opcode::Text } else { Opcode::Binary };
            let bytes = header(opcode, len);
            let mut cursor = std::io::Cursor::new(&bytes[..]);
            let (parsed, parsed_len) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            prop_assert_eq!(parsed_len, len);
            prop_assert_eq!(u8::from(parsed.opcode), opcode as u8);
            prop_assert!(parsed.is_final && parsed.mask.is_none());
        }
    }
}
