//! A body that is being read as a value for another process. Must not read it.

use crate::http::body::{Body, State};
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

impl Packed for Body {
    fn pack(&self, out: &mut Packer) {
        let (state, number) = match self.state {
            State::Length { left } => (0, left),
            State::ChunkLine => (1, 0),
            State::Chunk { left } => (2, left),
            State::ChunkEnd => (3, 0),
            State::Trailer { seen } => (4, seen as u64),
            State::Complete => (5, 0),
        };
        out.u8(state);
        out.u64(number);
        out.bytes(&self.payload);
        out.u64(self.bytes_max.into());
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let (state, number) = (input.u8()?, input.u64()?);
        let seen = || usize::try_from(number).map_err(|_| PackedError("not a length"));
        let state = match state {
            0 => State::Length { left: number },
            1 => State::ChunkLine,
            2 => State::Chunk { left: number },
            3 => State::ChunkEnd,
            4 => State::Trailer { seen: seen()? },
            5 => State::Complete,
            _ => return Err(PackedError("a body of no kind")),
        };
        let payload = input.bytes()?.to_vec();
        let bytes_max = input.number()?;
        let body = Self { state, payload, bytes_max };
        let left = match state {
            State::Length { left } | State::Chunk { left } => left,
            _ => 0,
        };
        body.check_room(left).map_err(|_| PackedError("a body above its limit"))?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Framing;
    use proptest::prelude::*;

    proptest! {
        /// Wherever the bytes are cut and the body changes the process.
        #[test]
        fn a_body_goes_on_in_another_process(cut in 0_usize..40, is_chunked in any::<bool>()) {
            let chunked = b"4\r\nabcd\r\n6;x=y\r\nefghij\r\n0\r\nA: b\r\n\r\n".as_slice();
            let plain = b"abcdefghij".as_slice();
            let (bytes, framing) = match is_chunked {
                true => (chunked, Framing::Chunked),
                false => (plain, Framing::Length(10)),
            };
            let cut = cut.min(bytes.len());
            let mut body = Body::new(framing, 100).unwrap();
            let used = body.read(&bytes[..cut]).unwrap().consumed;
            let packed = body.packed();
            for end in 0..packed.len() {
                prop_assert!(Body::unpacked(&packed[..end]).is_err());
            }
            let mut body = Body::unpacked(&packed).unwrap();
            prop_assert!(body.read(&bytes[used..]).unwrap().is_complete);
            prop_assert_eq!(body.into_bytes(), b"abcdefghij");
        }
    }
}
