//! A decoder as a value for another process: the part of a message that has come. Must not decode.

use crate::frame::Kind;
use crate::frame::decode::{Assembly, Decoder, OpenFrame};
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

impl Packed for Decoder {
    fn pack(&self, out: &mut Packer) {
        out.option(self.assembly.as_deref(), Assembly::pack);
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        Ok(Self { assembly: input.option(Assembly::unpack)?.map(Box::new) })
    }
}

impl Packed for Assembly {
    fn pack(&self, out: &mut Packer) {
        out.u8((self.kind == Kind::Text).into());
        out.u8(self.is_deflated.into());
        out.bytes(&self.payload);
        out.u64(self.text_bytes as u64);
        out.option(self.open.as_ref(), |open, out| {
            out.u64(open.left as u64);
            out.bytes(&open.mask);
            out.u8(open.is_final.into());
        });
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let kind = if input.flag()? { Kind::Text } else { Kind::Binary };
        let is_deflated = input.flag()?;
        let payload = input.bytes()?.to_vec();
        let text_bytes = input.number()?;
        let open = input.option(|input| {
            let left = input.number()?;
            let mask = input.bytes()?.try_into().map_err(|_| PackedError("not a mask"))?;
            Ok(OpenFrame { left, mask, is_final: input.flag()? })
        })?;
        if text_bytes > payload.len() {
            return Err(PackedError("more text than bytes"));
        }
        Ok(Self { kind, is_deflated, payload, text_bytes, open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode::{Decoded, Event};
    use proptest::prelude::*;

    /// A message of a client, in frames of so many bytes.
    fn message(text: &str, frame_bytes: usize) -> Vec<u8> {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(frame_bytes).collect();
        let mut bytes = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            let is_final = at + 1 == chunks.len();
            let opcode = if at == 0 { 1 } else { 0 };
            bytes.extend([u8::from(is_final) << 7 | opcode, 0x80 | chunk.len() as u8, 1, 2, 3, 4]);
            bytes.extend(chunk.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(a, b)| a ^ b));
        }
        bytes
    }

    proptest! {
        /// Wherever the bytes are cut and the decoder changes the process.
        #[test]
        fn a_message_goes_on_in_another_process(
            text in "[a-zäö€]{1,40}",
            frame_bytes in 1_usize..100,
            cut in 0_usize..400,
        ) {
            let mut bytes = message(&text, frame_bytes);
            let cut = cut % bytes.len();
            let (mut decoder, mut used) = (Decoder::default(), 0);
            let mut got = None;
            let ends = [cut, bytes.len()];
            for end in ends {
                while used < end {
                    match decoder.next(&mut bytes[used..end], 1 << 20, false).unwrap() {
                        Decoded::Need(_) => break,
                        Decoded::Part(part) => used += part,
                        Decoded::Frame { consumed, event } => {
                            used += consumed;
                            if let Event::Message { payload, .. } = event {
                                got = Some(payload.into_owned());
                            }
                        }
                    }
                }
                decoder = Decoder::unpacked(&decoder.packed()).unwrap();
            }
            prop_assert_eq!(got, Some(text.into_bytes()));
        }
    }
}
