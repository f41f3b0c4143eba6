//! Decompresses single messages without context, as RFC 7692 defines for servers that keep no
//! context. Must not know frames or sockets.

use flate2::{Decompress, FlushDecompress, Status};

use crate::codec::memo::Memo;

/// The inflater of one thread. The same bytes arrive at many sockets and are inflated only once.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    memo: Memo<Vec<u8>>,
    bytes_max: usize,
}

/// The message is not valid compressed data, or it grows beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged compression")]
pub struct Damaged;

impl Inflater {
    /// An inflater that caches about this many messages of up to `bytes_max` bytes each.
    pub fn new(messages: usize, bytes_max: usize) -> Inflater {
        Inflater { stream: Decompress::new(false), memo: Memo::new(messages), bytes_max }
    }

    /// The decompressed form of these bytes.
    pub fn message(&mut self, compressed: &[u8]) -> Result<&[u8], Damaged> {
        let Inflater { stream, memo, bytes_max } = self;
        let whole = memo.of(compressed, |compressed| inflated(stream, compressed, *bytes_max))?;
        Ok(whole)
    }
}

/// The bytes of a message, decompressed if necessary; `None` if they are damaged.
#[inline]
pub fn whole<'m>(
    bytes: &'m [u8],
    is_deflated: bool,
    inflater: &'m mut Option<Inflater>,
) -> Option<&'m [u8]> {
    match (is_deflated, inflater) {
        (false, _) => Some(bytes),
        (true, Some(inflater)) => inflater.message(bytes).ok(),
        (true, None) => None,
    }
}

fn inflated(
    stream: &mut Decompress,
    compressed: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, Damaged> {
    stream.reset(false);
    let mut out = Vec::with_capacity(FIRST_BYTES);
    for mut input in [compressed, &TAIL[..]] {
        while !input.is_empty() {
            if out.len() == out.capacity() {
                out.reserve(out.len());
            }
            let (taken, made) = (stream.total_in(), out.len());
            let status = stream
                .decompress_vec(input, &mut out, FlushDecompress::Sync)
                .map_err(|_| Damaged)?;
            let taken = (stream.total_in() - taken) as usize;
            input = input.get(taken..).unwrap_or_default();
            let is_stuck = taken == 0 && out.len() == made && out.len() < out.capacity();
            if out.len() > bytes_max || is_stuck {
                return Err(Damaged);
            }
            if status == Status::StreamEnd {
                return Ok(out);
            }
        }
    }
    Ok(out)
}

/// The tail of every compressed message, which the sender omits (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
const FIRST_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    fn compressed(message: &[u8]) -> Vec<u8> {
        let mut stream = Compress::new(Compression::default(), false);
        let mut out = Vec::with_capacity(message.len() + 1024);
        stream.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
        assert_eq!(out.split_off(out.len() - 4), TAIL);
        out
    }

    #[test]
    fn messages_are_inflated_each_for_itself() {
        let mut inflater = Inflater::new(1, 1 << 20);
        for message in [&b"first"[..], b"", b"second second second", b"first"] {
            assert_eq!(inflater.message(&compressed(message)), Ok(message));
        }
    }

    #[test]
    fn a_bomb_is_damaged_before_it_goes_off() {
        let bomb = compressed(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4096);
        assert_eq!(Inflater::new(1, 100_000).message(&bomb), Err(Damaged));
        assert_eq!(Inflater::new(1, 1 << 20).message(&bomb).map(<[u8]>::len), Ok(1 << 20));
    }

    proptest! {
        #[test]
        fn any_message_comes_back(message in prop::collection::vec(any::<u8>(), 0..5000)) {
            let mut inflater = Inflater::new(1, 5000);
            prop_assert_eq!(inflater.message(&compressed(&message)), Ok(&message[..]));
        }

        #[test]
        fn noise_neither_panics_nor_spins(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Inflater::new(1, 1000).message(&bytes) {
                prop_assert!(message.len() <= 1000);
            }
        }
    }
}
