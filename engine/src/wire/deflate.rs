//! Deflated messages (RFC 7692). What is sent is deflated each for itself, so that one deflated
//! message serves every subscriber; what comes may refer to what came before. Owns the compressors
//! of a thread. Must not know frames, nor who agreed to what.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::wire::close::{Close, CloseCode};

/// The smallest window of raw deflate that the library makes. Its matches reach back 250 bytes at
/// most, so what it makes fits the window of 8 bits that a client may ask for as well.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;

/// What a sender leaves out at the end of each message (section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// An empty stored block that ends a stream.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];

/// Final blocks in one message. One is all that clients send; each costs a fresh start, and a
/// message of nothing else would hold up a core with half a million of them.
const FINAL_BLOCKS_MAX: usize = 1024;

/// Room made at once for what is inflated: a small message needs no second step.
const INFLATE_STEP_BYTES: usize = 4 << 10;

thread_local! {
    /// One compressor for each window size that was asked for, with its level.
    static COMPRESSORS: RefCell<Vec<(u8, u8, Compress)>> = const { RefCell::new(Vec::new()) };
}

/// Appends `payload`, deflated with a window of `window_bits` (8 to 15) and an effort of `level`
/// (1 to 9).
pub fn message(out: &mut Vec<u8>, window_bits: u8, level: u8, payload: &[u8]) {
    if payload.is_empty() {
        // Section 7.2.3.6: an empty message is one empty block.
        return out.push(0x00);
    }
    let window_bits = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
    COMPRESSORS.with_borrow_mut(|compressors| {
        let compress = compressor(compressors, window_bits, level);
        compress.reset();
        deflate(compress, out, payload);
    });
    // A sync flush ends in an empty stored block, whose last four bytes stay here.
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
}

fn compressor(
    compressors: &mut Vec<(u8, u8, Compress)>,
    window_bits: u8,
    level: u8,
) -> &mut Compress {
    let is_it =
        |(bits, own_level, _): &(u8, u8, Compress)| (*bits, *own_level) == (window_bits, level);
    let index = compressors.iter().position(is_it).unwrap_or_else(|| {
        let effort = Compression::new(u32::from(level));
        let compress = Compress::new_with_window_bits(effort, false, window_bits);
        // The level changes with the settings only: what it was before is not needed any more.
        compressors.retain(|(bits, ..)| *bits != window_bits);
        compressors.push((window_bits, level, compress));
        compressors.len() - 1
    });
    &mut compressors[index].2
}

fn deflate(compress: &mut Compress, out: &mut Vec<u8>, payload: &[u8]) {
    loop {
        // Stored blocks cost five bytes in 16 KiB, and the flush a few more: mostly one step.
        out.reserve(payload.len() / 2 + 64);
        let taken = compress.total_in() as usize;
        let rest = payload.get(taken..).unwrap_or_default();
        let status = compress.compress_vec(rest, out, FlushCompress::Sync);
        debug_assert!(status.is_ok(), "memory to memory cannot fail");
        // With room left over, everything is out.
        if status.is_err()
            || compress.total_in() as usize == payload.len() && out.len() < out.capacity()
        {
            return;
        }
    }
}

/// The most that a message may refer back (RFC 7692, section 7.1.2.2).
const WINDOW_BYTES: usize = 32 << 10;

/// What the messages of a client that keeps its context may refer to: the end of those before.
/// Only as large as they were, and nothing before the first.
#[derive(Debug, Default)]
pub struct Context {
    window: Vec<u8>,
}

impl Context {
    /// Takes in a message, as it was before it was deflated.
    fn take(&mut self, message: &[u8]) {
        let message = &message[message.len().saturating_sub(WINDOW_BYTES)..];
        let len = self.window.len() + message.len();
        self.window.drain(..len.saturating_sub(WINDOW_BYTES));
        self.window.extend_from_slice(message);
    }

    /// The end of what was sent, for another process.
    #[must_use]
    pub fn window(&self) -> &[u8] {
        &self.window
    }

    /// What another process handed over.
    #[must_use]
    pub fn of_window(window: &[u8]) -> Self {
        let mut context = Self::default();
        context.take(window);
        context
    }

    /// Bytes of user memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.window.capacity()
    }
}

/// Inflates the messages of any clients, one after the other.
#[derive(Debug)]
pub struct Inflater {
    decompress: Decompress,
    /// What is being inflated. It keeps its room, as much as the largest message took: room that is
    /// made and given back each time is faulted in anew, page by page.
    inflated: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { decompress: Decompress::new(false), inflated: Vec::new() }
    }
}

impl Inflater {
    /// The message that `deflated`, all its fragments together, stands for. Whatever it claims, no
    /// more than about `bytes_max` is ever allocated.
    ///
    /// # Errors
    /// [`CloseCode::TooBig`] above `bytes_max`, [`CloseCode::Protocol`] where it is not deflate.
    pub fn message(&mut self, deflated: &[u8], bytes_max: usize) -> Result<Vec<u8>, Close> {
        self.message_after(&[], deflated, bytes_max)
    }

    /// As [`message`](Self::message), of a client that may refer to `context`; the message joins
    /// it.
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub fn message_in(
        &mut self,
        context: &mut Context,
        deflated: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Close> {
        let message = self.message_after(&context.window, deflated, bytes_max)?;
        context.take(&message);
        Ok(message)
    }

    fn message_after(
        &mut self,
        window: &[u8],
        deflated: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Close> {
        self.inflated.clear();
        let mut rest = deflated;
        for streams in 0..=FINAL_BLOCKS_MAX {
            // Nothing at all is no deflate, but some clients send the empty message so.
            if rest.is_empty() {
                return Ok(self.inflated.clone());
            }
            // Section 7.2.3.4: a sender may end its stream; what follows begins another.
            self.decompress.reset(false);
            if streams == 0 && !window.is_empty() {
                self.decompress.set_dictionary(window).map_err(|_| corrupt())?;
            }
            if !self.inflate(&mut rest, bytes_max)? {
                return self.finish(bytes_max);
            }
        }
        Err(corrupt())
    }

    /// Puts back what every sender leaves out, and an empty final block. A message that was cut
    /// short takes them for its own bytes: it says more then, or does not end where they do.
    fn finish(&mut self, bytes_max: usize) -> Result<Vec<u8>, Close> {
        let (tail, len) = ([TAIL.as_slice(), &FINAL_BLOCK].concat(), self.inflated.len());
        let mut rest = tail.as_slice();
        let is_ended = self.inflate(&mut rest, bytes_max)?;
        let is_whole = is_ended && rest.is_empty() && self.inflated.len() == len;
        if is_whole { Ok(self.inflated.clone()) } else { Err(corrupt()) }
    }

    /// Inflates `rest` up to its end, or that of a final block; whether it was the latter.
    fn inflate(&mut self, rest: &mut &[u8], bytes_max: usize) -> Result<bool, Close> {
        let Self { decompress, inflated } = self;
        loop {
            // One byte more than is allowed shows that there is more.
            let room = (bytes_max + 1 - inflated.len()).min(INFLATE_STEP_BYTES.max(inflated.len()));
            inflated.reserve_exact(room);
            let (before_in, before_out) = (decompress.total_in(), inflated.len());
            let status = decompress.decompress_vec(rest, inflated, FlushDecompress::Sync);
            let status = status.map_err(|_| corrupt())?;
            let taken = (decompress.total_in() - before_in) as usize;
            *rest = rest.get(taken..).unwrap_or_default();
            if inflated.len() > bytes_max {
                let reason = format!("a message above {bytes_max} bytes, inflated");
                return Err(Close::new(CloseCode::TooBig, reason));
            }
            match status {
                Status::StreamEnd => return Ok(true),
                _ if rest.is_empty() && inflated.len() < inflated.capacity() => return Ok(false),
                _ if taken == 0 && inflated.len() == before_out => return Err(corrupt()),
                _ => {}
            }
        }
    }
}

/// An inflated message, if it is text.
///
/// # Errors
/// [`CloseCode::InvalidText`] where it is not.
pub fn text(message: Vec<u8>) -> Result<Vec<u8>, Close> {
    match std::str::from_utf8(&message) {
        Ok(_) => Ok(message),
        Err(_) => Err(CloseCode::InvalidText.into()),
    }
}

fn corrupt() -> Close {
    Close::new(CloseCode::Protocol, "a message marked as deflated is not (RFC 7692)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::DeflateEncoder;
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
    use proptest::prelude::*;
    use std::io::Write;

    fn deflated(window_bits: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, window_bits, 6, payload);
        out
    }

    fn inflated(deflated: &[u8]) -> Result<Vec<u8>, CloseCode> {
        Inflater::default().message(deflated, 1 << 20).map_err(|close| close.code)
    }

    #[test]
    fn the_examples_of_the_rfc_are_understood() {
        for (bytes, text) in [
            // Section 7.2.3.1: one block of fixed codes.
            (&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..], "Hello"),
            // 7.2.3.3: a stored block.
            (&[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00], "Hello"),
            // 7.2.3.4: a last block, and the byte that makes room for the tail.
            (&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], "Hello"),
            // 7.2.3.5: two blocks.
            (
                &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
                "Hello",
            ),
            // 7.2.3.6: nothing.
            (&[0x00], ""),
        ] {
            assert_eq!(inflated(bytes), Ok(text.into()), "{bytes:02X?}");
        }
        assert_eq!(deflated(15, b""), [0x00]);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflated(15, &vec![0; 64 << 20]);
        assert!(bomb.len() < 100 << 10);
        let close = Inflater::default().message(&bomb, 1 << 20).unwrap_err();
        assert_eq!(close.code, CloseCode::TooBig);
        let exact = deflated(15, &[7; 1000]);
        assert!(Inflater::default().message(&exact, 1000).is_ok());
        assert!(Inflater::default().message(&exact, 999).is_err());
    }

    #[test]
    fn text_must_be_text() {
        let code = |bytes: &[u8]| text(bytes.to_vec()).err();
        assert_eq!(code("grün".as_bytes()), None);
        assert_eq!(code(&[0xFF]).map(|close| close.code), Some(CloseCode::InvalidText));
    }

    /// Messages of a sender that keeps its context: each but its tail.
    fn deflated_together(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        let deflated = messages.iter().map(|message| {
            encoder.get_mut().clear();
            encoder.write_all(message).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().strip_suffix(&TAIL).unwrap().to_vec()
        });
        deflated.collect()
    }

    #[test]
    fn a_bomb_leaves_no_context_behind() {
        let bomb = deflated(15, &vec![0; 64 << 20]);
        let mut context = Context::default();
        assert!(Inflater::default().message_in(&mut context, &bomb, 1 << 20).is_err());
        assert_eq!(context.memory_bytes(), 0);
    }

    #[test]
    fn an_inflater_forgets_what_went_wrong() {
        let mut inflater = Inflater::default();
        assert!(inflater.message(&[0xFF; 20], 100).is_err());
        assert_eq!(inflater.message(&deflated(15, b"after"), 100), Ok(b"after".to_vec()));
    }

    /// What an independent inflater makes of it that remembers `2 ^ bits` bytes and no more.
    fn through_window(bits: u8, message: &[u8]) -> Option<Vec<u8>> {
        let (stream, mut ring) = ([message, &TAIL, &FINAL_BLOCK].concat(), vec![0_u8; 1 << bits]);
        let (mut read, mut at, mut out) = (0, 0, Vec::new());
        let mut state = DecompressorOxide::new();
        loop {
            let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
            let step = decompress(&mut state, &stream[read..], &mut ring, at, flags);
            let (status, taken, written) = step;
            out.extend_from_slice(&ring[at..at + written]);
            (read, at) = (read + taken, (at + written) % ring.len());
            match status {
                TINFLStatus::Done => return Some(out),
                TINFLStatus::HasMoreOutput => {}
                _ => return None,
            }
        }
    }

    /// Bytes in which nothing is repeated but what lies `distance` back.
    fn repeating(distance: usize, len: usize) -> Vec<u8> {
        let mut bits = 1_u32;
        let mut noise = || {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (bits >> 24) as u8
        };
        let block: Vec<u8> = (0..distance).map(|_| noise()).collect();
        block.into_iter().cycle().take(len).collect()
    }

    #[test]
    fn a_window_of_8_bits_is_kept_at_every_distance_around_it() {
        for distance in 200..300 {
            let payload = repeating(distance, 1024);
            for level in 1..=9 {
                let mut deflated = Vec::new();
                message(&mut deflated, 8, level, &payload);
                let read = through_window(8, &deflated);
                assert_eq!(read.as_ref(), Some(&payload), "{distance}, {level}");
            }
        }
        // A window that is not kept shows.
        let payload = repeating(300, 1024);
        assert_ne!(through_window(8, &deflated(10, &payload)), Some(payload));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = deflated(15, b"The message is cut short somewhere, but where?");
        for cut in 1..whole.len() - 1 {
            assert_eq!(inflated(&whole[..cut]), Err(CloseCode::Protocol), "{cut}");
        }
        // A stored block must not take the tail for the four bytes it promised.
        assert_eq!(inflated(&[0x00, 0x04, 0x00, 0xFB, 0xFF]), Err(CloseCode::Protocol));
    }

    #[test]
    fn final_blocks_may_follow_each_other_but_not_without_end() {
        let hello = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        assert_eq!(inflated(&hello.repeat(3)), Ok(b"HelloHelloHello".to_vec()));
        let endless = [0x03, 0x00].repeat(FINAL_BLOCKS_MAX + 2);
        assert_eq!(inflated(&endless), Err(CloseCode::Protocol));
        assert_eq!(inflated(&endless[4..]), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn every_window_carries_every_message(
            window_bits in 8_u8..=15,
            unit in proptest::collection::vec(any::<u8>(), 1..700),
            times in 1_usize..60,
        ) {
            let payload = unit.repeat(times);
            let deflated = deflated(window_bits, &payload);
            prop_assert!(!deflated.ends_with(&TAIL));
            prop_assert_eq!(inflated(&deflated), Ok(payload.clone()));
            prop_assert_eq!(through_window(window_bits, &deflated), Some(payload));
        }

        #[test]
        fn another_encoder_is_understood(payload in proptest::collection::vec(0_u8..4, 0..5000)) {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&payload).unwrap();
            encoder.flush().unwrap();
            let mut bytes = encoder.get_ref().clone();
            prop_assert!(bytes.ends_with(&TAIL));
            bytes.truncate(bytes.len() - TAIL.len());
            prop_assert_eq!(inflated(&bytes), Ok(payload));
        }

        #[test]
        fn messages_refer_to_those_before_them(
            messages in proptest::collection::vec(
                (1_usize..20, 0_usize..3000).prop_map(|(unit, times)| {
                    (0..unit as u8).collect::<Vec<_>>().repeat(times)
                }),
                1..12,
            ),
        ) {
            let (mut inflater, mut context) = (Inflater::default(), Context::default());
            for (deflated, message) in deflated_together(&messages).iter().zip(&messages) {
                // Others have their turn in between.
                prop_assert_eq!(inflater.message(&[0x00], 99), Ok(Vec::new()));
                let read = inflater.message_in(&mut context, deflated, 1 << 20);
                prop_assert_eq!(read.as_ref(), Ok(message));
                prop_assert!(context.memory_bytes() <= 2 * WINDOW_BYTES);
            }
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plain) = Inflater::default().message(&bytes, 5000) {
                prop_assert!(plain.len() <= 5000);
            }
        }
    }
}
