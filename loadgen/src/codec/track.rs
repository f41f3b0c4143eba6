//! The recorded frames of one stream for replay: their bytes, when each is due after the start,
//! their time stamps, and the lookup of a received frame. Must not know captures or clocks.

use rustc_hash::FxHashSet;

use crate::codec::c37118;
use crate::codec::c37118::Envelope;
use crate::codec::restamped::{Shift, Stamps};
use crate::time::rate::Rate;
use crate::time::units::SECOND_NS;

/// One stream, its frames in the order of arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Track {
    id: u16,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    /// The recorded identity of each frame and its number, sorted by identity.
    claims: Vec<(u64, u32)>,
    /// The new stamps, if frames are replayed with the present time.
    stamps: Option<Stamps>,
}

/// When a frame is due, its identity, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    after_ns: u64,
    claim: u64,
    from: usize,
    length: u16,
}

/// Memory of a frame besides its bytes.
pub const FRAME_COST_BYTES: usize = size_of::<Frame>() + size_of::<(u64, u32)>();

impl Track {
    /// An empty track of a stream.
    pub fn new(id: u16) -> Track {
        Track { id, ..Track::default() }
    }

    /// Adds a frame with the instant of its arrival, ns. Bytes longer than FRAMESIZE can state are
    /// not a frame and are left out.
    pub fn push(&mut self, at_ns: u64, envelope: Envelope, bytes: &[u8]) {
        let Ok(length) = u16::try_from(bytes.len()) else { return };
        let claim = claim(envelope.soc, envelope.fracsec);
        self.frames.push(Frame { after_ns: at_ns, claim, from: self.bytes.len(), length });
        self.bytes.extend_from_slice(bytes);
    }

    /// Sorts the frames by arrival. Of several frames with the same stamp only the first stays,
    /// because no receiver could tell them apart; returns how many were dropped.
    pub fn settle(&mut self) -> u64 {
        let pushed = self.frames.len();
        self.frames.sort_by_key(|frame| frame.after_ns);
        let mut claimed = FxHashSet::default();
        self.frames.retain(|frame| claimed.insert(frame.claim));
        self.claims = self.frames.iter().zip(0..).map(|(frame, seq)| (frame.claim, seq)).collect();
        self.claims.sort_unstable();
        (pushed - self.frames.len()) as u64
    }

    /// The same frames with their distances divided by `speed`, counted from the instant
    /// `start_ns`.
    pub fn played(mut self, start_ns: u64, speed: f64) -> Track {
        for frame in &mut self.frames {
            let after_ns = frame.after_ns.saturating_sub(start_ns);
            frame.after_ns = (after_ns as f64 / speed.max(f64::MIN_POSITIVE)).round() as u64;
        }
        self
    }

    /// Gives the frames present-time stamps in all later replays.
    pub fn restamp(&mut self, shift: Shift) {
        let claims = self.frames.iter().map(|frame| claimed(frame.claim));
        self.stamps = Some(Stamps::of(claims, shift));
    }

    /// SOC and FRACSEC of the first frame, as recorded.
    pub fn first_claim(&self) -> Option<(u32, u32)> {
        self.frames.first().map(|frame| claimed(frame.claim))
    }

    /// Changes the IDCODE of the stream and of its frames.
    pub fn readdress(&mut self, id: u16) {
        self.id = id;
        for Frame { from, length, .. } in &self.frames {
            let frame = self.bytes.get_mut(*from..from + usize::from(*length));
            c37118::readdress(frame.unwrap_or_default(), id);
        }
    }

    /// IDCODE.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Length of the longest frame.
    pub fn frame_bytes_max(&self) -> u16 {
        self.frames.iter().map(|frame| frame.length).max().unwrap_or(0)
    }

    /// The bytes of a frame in a run with this start, written to `changed` if they differ from the
    /// recorded ones; `None` if there is no such frame.
    pub fn played_frame<'f>(
        &'f self,
        seq: u32,
        start_unix_ns: u64,
        changed: &'f mut Vec<u8>,
    ) -> &'f [u8] {
        let stamp = self.stamps.as_ref().and_then(|stamps| stamps.at(seq, start_unix_ns));
        let Some((soc, fracsec)) = stamp else { return self.frame(seq) };
        changed.clear();
        changed.extend_from_slice(self.frame(seq));
        c37118::restamp(changed, soc, fracsec);
        changed
    }

    /// The recorded bytes of a frame; `None` if there is no such frame.
    pub fn frame(&self, seq: u32) -> &[u8] {
        let Some(Frame { from, length, .. }) = self.frames.get(seq as usize) else { return &[] };
        self.bytes.get(*from..from + usize::from(*length)).unwrap_or_default()
    }

    /// How long after the start a frame is due, ns.
    pub fn after_ns(&self, seq: u32) -> u64 {
        self.frames.get(seq as usize).map_or(u64::MAX, |frame| frame.after_ns)
    }

    /// When the first and the last frame are due, ns after the start.
    pub fn span_ns(&self) -> (u64, u64) {
        let [first, last] = [self.frames.first(), self.frames.last()]
            .map(|frame| frame.map_or(0, |frame| frame.after_ns));
        (first, last)
    }

    /// How many frames are due within this many ns after the start.
    pub fn frames_before(&self, after_ns: u64) -> u32 {
        self.frames.partition_point(|frame| frame.after_ns < after_ns) as u32
    }

    /// The number of the frame with this stamp in a run with this start.
    pub fn seq_of(&self, soc: u32, fracsec: u32, start_unix_ns: u64) -> Option<u32> {
        if let Some(stamps) = &self.stamps {
            return stamps.seq_of((soc, fracsec), start_unix_ns);
        }
        let claim = claim(soc, fracsec);
        let at = self.claims.binary_search_by_key(&claim, |(claim, _)| *claim).ok()?;
        self.claims.get(at).map(|(_, seq)| *seq)
    }

    /// The mean rate, rounded to whole frames per second, or to whole seconds per frame if it is
    /// lower. Used for planning and to judge lateness.
    pub fn rate(&self) -> Rate {
        let (first_ns, last_ns) = self.span_ns();
        let seconds = last_ns.saturating_sub(first_ns) as f64 / SECOND_NS as f64;
        let periods = self.frames.len().saturating_sub(1) as f64;
        let whole = |value: f64| value.round().clamp(1.0, RATE_MAX) as u32;
        match periods >= seconds {
            _ if periods == 0.0 => Rate { num: 1, den: 1 },
            true => Rate { num: whole(periods / seconds.max(f64::MIN_POSITIVE)), den: 1 },
            false => Rate { num: 1, den: whole(seconds / periods) },
        }
    }
}

/// SOC and FRACSEC, whose upper byte is the time quality, as one number that grows with time.
fn claim(soc: u32, fracsec: u32) -> u64 {
    u64::from(soc) << 32 | u64::from(fracsec)
}

/// SOC and FRACSEC of such a number.
fn claimed(claim: u64) -> (u32, u32) {
    ((claim >> 32) as u32, claim as u32)
}

const RATE_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::c37118::Kind;
    use crate::fixtures::data_frame;
    use proptest::prelude::*;

    /// The start of 2026.
    const START_S: u32 = 1_767_225_600;
    const START_NS: u64 = START_S as u64 * SECOND_NS;

    fn envelope(soc: u32, fracsec: u32) -> Envelope {
        Envelope { id: 7, soc, quality: 0, fracsec }
    }

    fn frame(soc: u32, fracsec: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        c37118::encode_data(envelope(soc, fracsec), &[], &mut bytes);
        bytes
    }

    /// Frames with these instants of arrival and stamps.
    fn track(frames: &[(u64, u32, u32)]) -> Track {
        let mut track = Track::new(7);
        for (at_ns, soc, fracsec) in frames {
            track.push(*at_ns, envelope(*soc, *fracsec), &frame(*soc, *fracsec));
        }
        track
    }

    #[test]
    fn frames_are_found_by_what_they_claim() {
        let mut track = track(&[(300, 5, 2), (100, 5, 9), (200, 4, 1)]);
        assert_eq!(track.settle(), 0);
        let order: Vec<_> = (0..3).map(|seq| track.frame(seq).to_vec()).collect();
        assert_eq!(order, [frame(5, 9), frame(4, 1), frame(5, 2)]);
        assert_eq!(
            [track.seq_of(5, 9, 0), track.seq_of(4, 1, 0), track.seq_of(5, 2, 0)],
            [0, 1, 2].map(Some)
        );
        assert_eq!((track.seq_of(5, 3, 0), track.frame(3)), (None, &[][..]));
    }

    #[test]
    fn of_frames_with_the_same_instant_the_first_stays() {
        let mut track = track(&[(100, 5, 0), (200, 5, 0), (300, 5, 1), (50, 5, 1)]);
        assert_eq!(track.settle(), 2);
        assert_eq!((track.len(), track.after_ns(0), track.after_ns(1)), (2, 50, 100));
        assert_eq!((track.seq_of(5, 1, 0), track.seq_of(5, 0, 0)), (Some(0), Some(1)));
    }

    #[test]
    fn a_faster_track_has_the_same_frames_closer_together() {
        let mut track = track(&[(1_000, 5, 0), (2_000, 5, 1), (4_000, 5, 2)]);
        track.settle();
        let fast = track.clone().played(1_000, 10.0);
        assert_eq!([0, 1, 2].map(|seq| fast.after_ns(seq)), [0, 100, 300]);
        assert_eq!([100, 101, 301].map(|until| fast.frames_before(until)), [1, 2, 3]);
        assert_eq!(fast.frame(2), track.frame(2));
    }

    #[test]
    fn rates_are_whole_to_plan_by() {
        let rate = |period_ns: u64, frames: u64| {
            let frames: Vec<_> = (0..frames).map(|n| (n * period_ns, n as u32, 0)).collect();
            track(&frames).rate()
        };
        assert_eq!(rate(16_683_350, 600), Rate { num: 60, den: 1 });
        assert_eq!(rate(5_000_000_000, 4), Rate { num: 1, den: 5 });
        assert_eq!((rate(1, 1), rate(0, 3).num), (Rate { num: 1, den: 1 }, 1_000_000));
    }

    #[test]
    fn another_idcode_is_in_the_frames_too() {
        let mut track = track(&[(0, 5, 0), (1, 5, 1)]);
        track.settle();
        track.readdress(9);
        let found = c37118::check(track.frame(1)).unwrap();
        assert_eq!((track.id(), found), (9, (Kind::Data, Envelope { id: 9, ..envelope(5, 1) })));
    }

    proptest! {
        /// Holds for any recorded frames.
        #[test]
        fn restamped_frames_are_whole_known_again_and_changed_in_their_time_alone(
            recorded in prop::collection::vec(
                (any::<u32>(), any::<u32>(), 0u32..1 << 24, any::<u8>(), 0usize..9),
                1..40,
            ),
            time_base in 1u32..1 << 24,
            zero_s in 0u64..1 << 32,
            speed in 1.0f64..100.0,
        ) {
            let mut track = Track::new(7);
            for (at_ns, soc, fracsec, quality, digitals) in recorded {
                let mut bytes = data_frame(7, soc, fracsec, digitals);
                bytes[10] = quality;
                c37118::readdress(&mut bytes, 7);
                track.push(u64::from(at_ns), envelope(soc, fracsec), &bytes);
            }
            track.settle();
            track.restamp(Shift { time_base, zero_ns: zero_s * SECOND_NS, speed });
            let track = track.played(0, speed);
            for seq in 0..track.len() as u32 {
                let (mut changed, recorded) = (Vec::new(), track.frame(seq));
                let sent = track.played_frame(seq, START_NS, &mut changed);
                let (kind, said) = c37118::check(sent).unwrap();
                prop_assert_eq!((kind, said.quality), (Kind::Data, recorded[10]));
                prop_assert_eq!(track.seq_of(said.soc, said.fracsec, START_NS), Some(seq));
                let body = |frame: &[u8]| {
                    let end = frame.len() - 2;
                    [&frame[..6], &frame[10..11], &frame[14..end]].concat()
                };
                prop_assert_eq!(body(sent), body(recorded));
            }
        }
    }
}
