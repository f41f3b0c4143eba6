//! CFG-3 in several frames: collects the parts of one stream until the last is there. Must not
//! read what they say.

use crate::c37118::bad_input::BadInput;
use crate::c37118::configuration::Configuration;
use crate::c37118::fields::Fields;
use crate::c37118::frame::{Frame, FrameKind};

/// The parts that have come so far.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    /// What follows the number in each part.
    body: Vec<u8>,
    /// The frames, one after the other.
    frames: Vec<u8>,
    /// The number of the part that comes next; 0 where none has come.
    next: u16,
}

/// The most bytes of all parts together.
const FRAGMENTS_BYTES_MAX: usize = 1 << 20;

/// The number of a frame that is all of a configuration.
const ONLY: u16 = 0;
/// The number of the last of several.
const LAST: u16 = 0xFFFF;

impl Fragments {
    /// Takes a configuration frame of any kind. Answers the configuration, and all its frames as
    /// they came, once it is whole.
    ///
    /// # Errors
    /// A part that is not the next one, and what [`Configuration::read`] refuses. Nothing is kept
    /// of the parts before then.
    pub fn take(
        &mut self,
        frame: &Frame<'_>,
    ) -> Result<Option<(Configuration, Vec<u8>)>, BadInput> {
        if frame.kind != FrameKind::Config3 {
            return Ok(Some((Configuration::read(frame)?, frame.bytes.to_vec())));
        }
        let mut fields = Fields::new(frame.body());
        let number = fields.u16().ok_or(BadInput::Configuration)?;
        if matches!(number, ONLY | 1) {
            *self = Self::default();
        }
        let is_next =
            number == ONLY || number == LAST && self.next > 1 || number == self.next.max(1);
        let bytes = self.frames.len() + frame.bytes.len();
        if !is_next || bytes > FRAGMENTS_BYTES_MAX {
            *self = Self::default();
            return Err(BadInput::Fragment);
        }
        self.body.extend(fields.rest());
        self.frames.extend(frame.bytes);
        if number != ONLY && number != LAST {
            self.next = number + 1;
            return Ok(None);
        }
        let whole = std::mem::take(self);
        let configuration = Configuration::of_body(frame.kind, frame.id, &whole.body)?;
        Ok(Some((configuration, whole.frames)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::frame::{First, encode};
    use crate::c37118::samples;
    use crate::c37118::stamp::Stamp;

    fn take(
        fragments: &mut Fragments,
        number: u16,
        part: &[u8],
    ) -> Result<Option<(Configuration, Vec<u8>)>, BadInput> {
        let body = [&number.to_be_bytes()[..], part].concat();
        let bytes = encode(FrameKind::Config3, 2, 5, Stamp::default(), &body).unwrap();
        let First::Whole(frame) = Frame::first(&bytes) else { panic!("not whole") };
        fragments.take(&frame)
    }

    #[test]
    fn parts_are_put_together_wherever_they_are_cut() {
        let body = samples::config3_body();
        let whole = take(&mut Fragments::default(), 0, &body).unwrap().unwrap().0;
        assert_eq!(&*whole.stations[0].name, "Umspannwerk S\u{fc}d, Feld 1");
        assert_eq!(whole.stations[0].digitals[0].names.len(), 16);
        for cut in [1, body.len() / 2, body.len() - 1] {
            let mut fragments = Fragments::default();
            assert_eq!(take(&mut fragments, 1, &body[..cut]), Ok(None));
            assert_eq!(take(&mut fragments, 2, &[]), Ok(None));
            let (read, frames) = take(&mut fragments, 0xFFFF, &body[cut..]).unwrap().unwrap();
            assert_eq!(read, whole);
            assert_eq!(frames.len(), 3 * 18 + body.len(), "the frames as they came");
        }
    }

    #[test]
    fn a_missing_part_is_told_and_the_next_beginning_counts() {
        let body = samples::config3_body();
        let mut fragments = Fragments::default();
        assert_eq!(take(&mut fragments, 0xFFFF, &body), Err(BadInput::Fragment));
        assert_eq!(take(&mut fragments, 1, &body[..9]), Ok(None));
        assert_eq!(take(&mut fragments, 3, &body[9..]), Err(BadInput::Fragment));
        assert_eq!(take(&mut fragments, 0xFFFF, &body[9..]), Err(BadInput::Fragment));
        assert_eq!(take(&mut fragments, 1, &body[..9]), Ok(None));
        assert!(take(&mut fragments, 0xFFFF, &body[9..]).unwrap().is_some());
    }

    #[test]
    fn parts_without_end_are_not_kept() {
        let part = vec![0; 60_000];
        let mut fragments = Fragments::default();
        let taken = (1..100).map(|number| take(&mut fragments, number, &part));
        let refused = taken.filter(|taken| *taken == Err(BadInput::Fragment)).count();
        assert!(refused > 0);
        assert!(fragments.frames.capacity() <= 2 * FRAGMENTS_BYTES_MAX);
    }
}
