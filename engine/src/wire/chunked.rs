//! Chunks of HTTP's chunked transfer coding (RFC 9112 section 7.1). Must not know what is in them.

use crate::wire::text;

/// Appends one chunk with what `body` appends, which must not be empty.
/// The size has a fixed width, filled in afterwards: one pass, and a length that is read fast.
pub fn chunk(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(b"00000000\r\n");
    body(out);
    let size = out.len() - start - SIZE_BYTES - 2;
    debug_assert!(u32::try_from(size).is_ok(), "a message is far smaller than 4 GiB");
    if let Some(mut digits) = out.get_mut(start..start + SIZE_BYTES) {
        text::text(&mut digits, format_args!("{size:08x}"));
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the empty chunk that ends the response.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"00000000\r\n\r\n");
}

/// The total length of the chunk that starts at `bytes[0]`; `None` while its size line is
/// incomplete. Only for chunks written here.
#[inline]
#[must_use]
pub fn chunk_len(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.get(..SIZE_BYTES)?;
    let size = digits
        .iter()
        .try_fold(0, |size, &digit| Some(size << 4 | u64::from(char::from(digit).to_digit(16)?)))?;
    Some(SIZE_BYTES as u64 + 2 + size + 2)
}

/// Digits of a chunk's size: room for 4 GiB.
const SIZE_BYTES: usize = 8;
