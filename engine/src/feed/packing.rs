//! The words of a feed as values for another process: targets, kinds, gaps, choices. Owns which
//! number stands for which word there. Must not change a number: what is new gets a new one, and
//! the version of the hand-over (`engine/handover`) goes up.

use crate::feed::gap::{Gap, GapReason};
use crate::feed::kind::{Deflation, Form, LaneKind};
use crate::feed::options::{LagPolicy, Mode, Rate};
use crate::feed::topic::{Target, Topic};
use crate::frame::Kind;
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

/// Words by their numbers.
fn word<T: Copy>(words: &[T], number: u8) -> Result<T, PackedError> {
    words.get(usize::from(number)).copied().ok_or(PackedError("a word that there is not"))
}

fn number<T: PartialEq>(words: &[T], word: &T) -> u8 {
    words.iter().position(|other| other == word).unwrap_or_default() as u8
}

const KINDS: [Kind; 2] = [Kind::Text, Kind::Binary];
const FORMS: [Form; 5] = [Form::Raw, Form::Sse, Form::Json, Form::Binary, Form::Export];
const MODES: [Mode; 2] = [Mode::Lossless, Mode::Latest];
const LAGS: [LagPolicy; 3] =
    [LagPolicy::Disconnect, LagPolicy::SkipToOldest, LagPolicy::SkipToLatest];
const REASONS: [GapReason; 5] = [
    GapReason::Lagged,
    GapReason::Expired,
    GapReason::Epoch,
    GapReason::Conflated,
    GapReason::Relay,
];

impl Packed for Kind {
    fn pack(&self, out: &mut Packer) {
        out.u8(number(&KINDS, self));
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        word(&KINDS, input.u8()?)
    }
}

impl Packed for Mode {
    fn pack(&self, out: &mut Packer) {
        out.u8(number(&MODES, self));
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        word(&MODES, input.u8()?)
    }
}

impl Packed for LagPolicy {
    fn pack(&self, out: &mut Packer) {
        out.u8(number(&LAGS, self));
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        word(&LAGS, input.u8()?)
    }
}

impl Packed for Gap {
    fn pack(&self, out: &mut Packer) {
        out.u64(self.from);
        out.u64(self.to);
        out.option(self.frames.as_ref(), |frames, out| out.u64(*frames));
        out.u8(number(&REASONS, &self.reason));
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let (from, to) = (input.u64()?, input.u64()?);
        let frames = input.option(Unpacker::u64)?;
        Ok(Self { from, to, frames, reason: word(&REASONS, input.u8()?)? })
    }
}

impl Packed for LaneKind {
    fn pack(&self, out: &mut Packer) {
        out.u8(number(&FORMS, &self.form));
        out.option(self.deflate.as_ref(), |deflation, out| {
            out.u8(deflation.window_bits);
            out.u8(deflation.level);
            out.u64(deflation.bytes_min.into());
        });
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let form = word(&FORMS, input.u8()?)?;
        let deflate = input.option(|input| {
            let (window_bits, level) = (input.u8()?, input.u8()?);
            if !(8..=15).contains(&window_bits) || !(1..=9).contains(&level) {
                return Err(PackedError("a way of deflating that there is not"));
            }
            Ok(Deflation { window_bits, level, bytes_min: input.number()? })
        })?;
        Ok(Self { form, deflate })
    }
}

impl Packed for Target {
    fn pack(&self, out: &mut Packer) {
        out.bytes(self.as_str().as_bytes());
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        input.text()?.parse().map_err(|_| PackedError("neither a topic nor a pattern"))
    }
}

impl Packed for Topic {
    fn pack(&self, out: &mut Packer) {
        out.bytes(self.as_str().as_bytes());
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        Self::new(input.text()?).map_err(|_| PackedError("not a topic"))
    }
}

impl Packed for Rate {
    fn pack(&self, out: &mut Packer) {
        out.u64(self.per_s().into());
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        Self::new(input.u64()?).map_err(|_| PackedError("not a rate"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comes_out<T: Packed + PartialEq + std::fmt::Debug>(value: T) {
        assert_eq!(T::unpacked(&value.packed()), Ok(value));
    }

    #[test]
    fn every_word_has_a_number() {
        KINDS.into_iter().for_each(comes_out);
        MODES.into_iter().for_each(comes_out);
        LAGS.into_iter().for_each(comes_out);
        for reason in REASONS {
            comes_out(Gap { from: 1, to: 2, frames: Some(2), reason });
            comes_out(Gap { from: 1, to: 2, frames: None, reason });
        }
        for form in FORMS {
            comes_out(LaneKind::plain(form));
            let deflation = Deflation { window_bits: 12, level: 3, bytes_min: 64 };
            comes_out(LaneKind { form, deflate: Some(deflation) });
        }
        for text in ["pmu/1001", "pmu/#", "+/a"] {
            comes_out::<Target>(text.parse().unwrap());
        }
        assert!(Topic::unpacked(&"a/#".parse::<Target>().unwrap().packed()).is_err());
        assert!(Mode::unpacked(&[2]).is_err() && Rate::unpacked(&[0; 8]).is_err());
    }
}
