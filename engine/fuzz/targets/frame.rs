//! Client frames: whatever the bytes and wherever reads cut them, the decoder says the same, asks
//! for what it can use, and holds no more than a message may have. Owns no frame of its own.
#![no_main]

use gridcast::frame::decode::{Decoded, Decoder};
use libfuzzer_sys::fuzz_target;

/// Small, so that the limit is met often.
const MESSAGE_BYTES_MAX: u32 = 300;

fuzz_target!(|data: &[u8]| {
    let Some((&first, stream)) = data.split_first() else { return };
    let (piece_bytes, is_deflate_agreed) = (usize::from(first >> 1).max(1), first & 1 == 1);
    let pieces = decode(stream, piece_bytes, is_deflate_agreed);
    let whole = decode(stream, stream.len().max(1), is_deflate_agreed);
    assert_eq!(pieces, whole, "cut into {piece_bytes}");
});

/// What a stream that comes in pieces means, in words.
fn decode(stream: &[u8], piece_bytes: usize, is_deflate_agreed: bool) -> Vec<String> {
    let (mut decoder, mut buffer, mut said) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        if !drain(&mut decoder, &mut buffer, is_deflate_agreed, &mut said) {
            break;
        }
    }
    said
}

/// Reads whole frames; false after a close by the decoder.
fn drain(
    decoder: &mut Decoder,
    buffer: &mut Vec<u8>,
    is_deflate_agreed: bool,
    said: &mut Vec<String>,
) -> bool {
    loop {
        let there = buffer.len();
        let consumed = match decoder.next(buffer, MESSAGE_BYTES_MAX, is_deflate_agreed) {
            Ok(Decoded::Need(bytes)) => {
                assert!(bytes > there, "asked for {bytes} with {there} there");
                assert!(bytes <= 14 + MESSAGE_BYTES_MAX as usize, "asked for {bytes}");
                return true;
            }
            Ok(Decoded::Part(0)) => {
                assert_eq!(there, 0, "took nothing of {there}");
                return true;
            }
            Ok(Decoded::Part(consumed)) => consumed,
            Ok(Decoded::Frame { consumed, event }) => {
                said.push(format!("{event:?}"));
                consumed
            }
            Err(close) => {
                said.push(format!("{close:?}"));
                return false;
            }
        };
        assert!((1..=there).contains(&consumed), "took {consumed} of {there}");
        assert!(decoder.held_bytes() <= 2 * MESSAGE_BYTES_MAX as usize, "holds too much");
        buffer.drain(..consumed);
    }
}
