//! Deflated messages (RFC 7692), each for itself: no window outlives its message, so that one
//! deflated message serves every subscriber, and one inflater every publisher. Owns the compressors
//! of a thread. Must not know frames, nor who agreed to what.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::close::{Close, CloseCode};

/// The smallest window of raw deflate that the library makes. Its matches reach back 250 bytes at
/// most, so what it makes fits the window of 8 bits that a client may ask for as well.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;

/// What a sender leaves out at the end of each message (section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

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

/// Inflates messages of clients that keep no window between them.
#[derive(Debug)]
pub struct Inflater {
    decompress: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { decompress: Decompress::new(false) }
    }
}

impl Inflater {
    /// The message that `deflated`, all its fragments together, stands for. Whatever it claims, no
    /// more than about `bytes_max` is ever allocated.
    ///
    /// # Errors
    /// [`CloseCode::TooBig`] above `bytes_max`, [`CloseCode::Protocol`] where it is not deflate.
    pub fn message(&mut self, deflated: &[u8], bytes_max: usize) -> Result<Vec<u8>, Close> {
        self.decompress.reset(false);
        let mut out = Vec::new();
        self.inflate(deflated, &mut out, bytes_max)?;
        self.inflate(&TAIL, &mut out, bytes_max)?;
        Ok(out)
    }

    /// The text that `deflated` stands for.
    ///
    /// # Errors
    /// As [`message`](Self::message), and [`CloseCode::InvalidText`].
    pub fn text(&mut self, deflated: &[u8], bytes_max: usize) -> Result<Vec<u8>, Close> {
        let text = self.message(deflated, bytes_max)?;
        match std::str::from_utf8(&text) {
            Ok(_) => Ok(text),
            Err(_) => Err(CloseCode::InvalidText.into()),
        }
    }

    fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Close> {
        let mut rest = input;
        loop {
            // One byte more than is allowed shows that there is more.
            let room = (bytes_max + 1 - out.len()).min(INFLATE_STEP_BYTES.max(out.len()));
            out.reserve_exact(room);
            let (before_in, before_out) = (self.decompress.total_in(), out.len());
            let status = self.decompress.decompress_vec(rest, out, FlushDecompress::Sync);
            let status = status.map_err(|_| corrupt())?;
            let taken = (self.decompress.total_in() - before_in) as usize;
            rest = rest.get(taken..).unwrap_or_default();
            if out.len() > bytes_max {
                let reason = format!("a message above {bytes_max} bytes, inflated");
                return Err(Close::new(CloseCode::TooBig, reason));
            }
            match status {
                // Section 7.2.3.4: a sender may end its stream; what follows begins another.
                Status::StreamEnd => self.decompress.reset(false),
                _ if rest.is_empty() && out.len() < out.capacity() => return Ok(()),
                _ if taken == 0 && out.len() == before_out => return Err(corrupt()),
                _ => {}
            }
            if rest.is_empty() && status == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

fn corrupt() -> Close {
    Close::new(CloseCode::Protocol, "a message marked as deflated is not (RFC 7692)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::DeflateEncoder;
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
        let code = |bytes: &[u8]| Inflater::default().text(&deflated(15, bytes), 99).err();
        assert_eq!(code("grün".as_bytes()), None);
        assert_eq!(code(&[0xFF]).map(|close| close.code), Some(CloseCode::InvalidText));
    }

    #[test]
    fn an_inflater_forgets_what_went_wrong() {
        let mut inflater = Inflater::default();
        assert!(inflater.message(&[0xFF; 20], 100).is_err());
        assert_eq!(inflater.message(&deflated(15, b"after"), 100), Ok(b"after".to_vec()));
    }

    /// Raw deflate by hand, as far as distances go: what reaches back further than the window a
    /// client asked for would be lost on it.
    fn inflates_within(window_bytes: usize, deflated: &[u8], payload: &[u8]) -> bool {
        let mut whole = deflated.to_vec();
        whole.extend(TAIL);
        let mut plain = Vec::with_capacity(payload.len() + 1);
        let bits = window_bytes.trailing_zeros().max(9) as u8;
        let mut decompress = Decompress::new_with_window_bits(false, bits);
        decompress.decompress_vec(&whole, &mut plain, FlushDecompress::Sync).is_ok()
            && plain == payload
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
            prop_assert!(inflates_within(1 << window_bits, &deflated, &payload));
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
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plain) = Inflater::default().message(&bytes, 5000) {
                prop_assert!(plain.len() <= 5000);
            }
        }
    }
}
