//! What a bridge knows of its streams: who sends each, and by which configuration its data is
//! read. Decides what is kept out, and when a new configuration counts. Must not know sockets, nor
//! publish.

use std::collections::HashMap;
use std::sync::Arc;

use super::bad_input::BadInput;
use super::configuration::Configuration;
use super::data::announces_configuration;
use super::fragments::Fragments;
use super::frame::{Frame, FrameKind};

/// Who sent something: a connection, or an address that sends datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub u64);

/// A configuration, and the frames that said it.
#[derive(Debug, PartialEq)]
pub struct Known {
    /// What it says.
    pub configuration: Configuration,
    /// The frame, or the frames of a CFG-3 in parts, as they came.
    pub frames: Vec<u8>,
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// Data, to be read by this configuration, which is to be published first where it is told.
    Data {
        /// How the data is read.
        known: Arc<Known>,
        /// Whether it counts from this frame on, or was last told a minute ago.
        is_told: bool,
        /// Whether the device should be asked for its configuration.
        asks: bool,
        /// Frames between the one before and this, by their instants, that never came.
        missing: u64,
    },
    /// A configuration that counts from now on.
    Configuration(Arc<Known>),
    /// A configuration that counts when the data says so.
    Later,
    /// A part of a configuration, and not the last.
    Part,
    /// Nothing that changes anything.
    Other,
}

/// The streams of a bridge.
#[derive(Debug)]
pub struct Streams {
    /// The IDCODEs that are taken; all where it is empty.
    ids: Vec<u16>,
    /// The kind of configuration by which data is read.
    wanted: FrameKind,
    streams: HashMap<u16, Stream>,
    /// Configurations without an IDCODE, which some concentrators send: they are for the data of
    /// their sender that has no other.
    anonymous: HashMap<Peer, Dated<Arc<Known>>>,
    /// Configurations of which parts have come, by sender and IDCODE.
    collecting: HashMap<(Peer, u16), Dated<Fragments>>,
    configuration_bytes: usize,
    /// When who is silent was last forgotten.
    forgotten_ns: u64,
}

/// Something, and when it came last.
#[derive(Debug)]
struct Dated<T> {
    what: T,
    heard_ns: u64,
}

/// One stream.
#[derive(Debug)]
struct Stream {
    owner: Peer,
    seen_ns: u64,
    /// When the configuration was last published.
    told_ns: u64,
    current: Arc<Known>,
    /// What counts as soon as the data no longer announces a change.
    next: Option<Arc<Known>>,
    is_announced: bool,
    /// The number of the newest data on the grid of its rate.
    newest: Option<u64>,
}

/// A sender that was silent for so long no longer holds its IDCODE against others.
const OWNED_NS: u64 = 5_000_000_000;
/// What was silent for so long makes room for others.
const KEPT_NS: u64 = 300_000_000_000;
/// How often that is looked for at most.
const FORGET_EVERY_NS: u64 = 1_000_000_000;
/// The next part of a configuration comes within this time.
const PART_NS: u64 = 10_000_000_000;
/// Data that is missing for longer is a pause, in seconds.
const PAUSE_S: u64 = 60;
const NS_PER_S: u64 = 1_000_000_000;
/// How often a configuration is published again, as devices that nobody asks do.
const TELL_EVERY_NS: u64 = 60_000_000_000;
/// The bytes of all configurations together.
const CONFIGURATION_BYTES_MAX: usize = 4 << 20;
/// How many configurations in parts are collected at once.
const COLLECTING_MAX: usize = 16;
/// The IDCODE that says nothing.
const ANONYMOUS: u16 = 0;

impl Streams {
    /// Nothing yet. `ids` are those that are taken; none means all.
    #[must_use]
    pub fn new(ids: Vec<u16>, wanted: FrameKind) -> Self {
        Self {
            ids,
            wanted,
            streams: HashMap::new(),
            anonymous: HashMap::new(),
            collecting: HashMap::new(),
            configuration_bytes: 0,
            forgotten_ns: 0,
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// Why it is kept out.
    pub fn take(&mut self, peer: Peer, frame: &Frame<'_>, now_ns: u64) -> Result<Taken, BadInput> {
        let is_known = self.ids.is_empty() || self.ids.contains(&frame.id);
        match frame.kind {
            // A configuration without an IDCODE is judged by the data that it is used for.
            kind if self.is_wanted(kind) && (is_known || frame.id == ANONYMOUS) => {
                self.configure(peer, frame, now_ns)
            }
            _ if !is_known => Err(BadInput::UnknownId),
            kind if kind.is_data() => self.data(peer, frame, now_ns),
            FrameKind::Command | FrameKind::Command2024 => Err(BadInput::Unexpected),
            _ => Ok(Taken::Other),
        }
    }

    /// Forgets what a connection sent, when it has ended.
    pub fn release(&mut self, peer: Peer) {
        self.streams.retain(|_, stream| stream.owner != peer);
        self.anonymous.remove(&peer);
        self.collecting.retain(|(sender, _), _| *sender != peer);
        self.recount();
    }

    /// Whether data is read by this kind of configuration. CFG-1 is no description of what is
    /// sent, so it counts only where it was asked for. A CFG-2 always does: a device that has no
    /// CFG-3 is asked for it.
    fn is_wanted(&self, kind: FrameKind) -> bool {
        matches!(kind, FrameKind::Config2 | FrameKind::Config3 | FrameKind::Config2024)
            || kind == self.wanted
    }

    fn configure(&mut self, peer: Peer, frame: &Frame<'_>, now_ns: u64) -> Result<Taken, BadInput> {
        self.check_owner(peer, frame.id, now_ns)?;
        let Some(known) = self.collect(peer, frame, now_ns)? else { return Ok(Taken::Part) };
        if !self.has_room(known.frames.len(), now_ns) {
            return Err(BadInput::TooMany);
        }
        let known = Arc::new(known);
        let taken = if frame.id == ANONYMOUS {
            self.anonymous.insert(peer, Dated { what: known, heard_ns: now_ns });
            Taken::Later
        } else if let Some(stream) = self.streams.get_mut(&frame.id).filter(|s| s.owner == peer) {
            stream.configure(known, now_ns)
        } else {
            self.streams.insert(frame.id, Stream::new(peer, &known, now_ns));
            Taken::Configuration(known)
        };
        self.recount();
        Ok(taken)
    }

    /// A configuration, once all its parts are there.
    fn collect(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
        now_ns: u64,
    ) -> Result<Option<Known>, BadInput> {
        self.collecting.retain(|_, parts| now_ns.saturating_sub(parts.heard_ns) < PART_NS);
        let key = (peer, frame.id);
        let mut fragments =
            self.collecting.remove(&key).map(|parts| parts.what).unwrap_or_default();
        let Some((configuration, frames)) = fragments.take(frame)? else {
            if self.collecting.len() >= COLLECTING_MAX {
                return Err(BadInput::TooMany);
            }
            self.collecting.insert(key, Dated { what: fragments, heard_ns: now_ns });
            return Ok(None);
        };
        Ok(Some(Known { configuration, frames }))
    }

    /// Whether there is room for a configuration of so many bytes. Who is silent makes room:
    /// senders of datagrams never say that they have gone.
    fn has_room(&mut self, bytes: usize, now_ns: u64) -> bool {
        let fits = |bytes_now: usize| bytes_now + bytes <= CONFIGURATION_BYTES_MAX;
        let may_forget = now_ns.saturating_sub(self.forgotten_ns) >= FORGET_EVERY_NS;
        if !fits(self.configuration_bytes) && may_forget {
            self.forgotten_ns = now_ns;
            let is_kept = |heard_ns: u64| now_ns.saturating_sub(heard_ns) < KEPT_NS;
            self.streams.retain(|_, stream| is_kept(stream.seen_ns));
            self.anonymous.retain(|_, known| is_kept(known.heard_ns));
            self.recount();
        }
        fits(self.configuration_bytes)
    }

    fn data(&mut self, peer: Peer, frame: &Frame<'_>, now_ns: u64) -> Result<Taken, BadInput> {
        self.check_owner(peer, frame.id, now_ns)?;
        if let Some(stream) = self.streams.get_mut(&frame.id).filter(|s| s.owner == peer) {
            return stream.data(frame, now_ns);
        }
        let known = self.anonymous.get_mut(&peer).ok_or(BadInput::NoConfiguration)?;
        known.heard_ns = now_ns;
        let mut stream = Stream::new(peer, &known.what, now_ns);
        let taken = stream.data(frame, now_ns)?;
        self.streams.insert(frame.id, stream);
        match taken {
            Taken::Data { known, asks, missing, .. } => {
                Ok(Taken::Data { known, is_told: true, asks, missing })
            }
            other => Ok(other),
        }
    }

    fn check_owner(&self, peer: Peer, id: u16, now_ns: u64) -> Result<(), BadInput> {
        let is_others = self.streams.get(&id).is_some_and(|stream| {
            stream.owner != peer && now_ns.saturating_sub(stream.seen_ns) < OWNED_NS
        });
        if is_others { Err(BadInput::IdTaken) } else { Ok(()) }
    }

    fn recount(&mut self) {
        let own = self.streams.values().flat_map(|s| [Some(&s.current), s.next.as_ref()]);
        let all = own.flatten().chain(self.anonymous.values().map(|known| &known.what));
        self.configuration_bytes = all.map(|known| known.frames.len()).sum();
    }
}

impl Stream {
    fn new(owner: Peer, known: &Arc<Known>, now_ns: u64) -> Self {
        let current = Arc::clone(known);
        let (next, is_announced, newest) = (None, false, None);
        Self { owner, seen_ns: now_ns, told_ns: now_ns, current, next, is_announced, newest }
    }

    /// A new configuration counts at once, unless the data says that it is about to.
    fn configure(&mut self, known: Arc<Known>, now_ns: u64) -> Taken {
        self.seen_ns = now_ns;
        if self.is_announced && known.configuration != self.current.configuration {
            self.next = Some(known);
            return Taken::Later;
        }
        (self.next, self.told_ns) = (None, now_ns);
        self.current = Arc::clone(&known);
        Taken::Configuration(known)
    }

    fn data(&mut self, frame: &Frame<'_>, now_ns: u64) -> Result<Taken, BadInput> {
        self.seen_ns = now_ns;
        let is_announced =
            self.fits(frame) && announces_configuration(&self.current.configuration, frame);
        let asks = is_announced && !self.is_announced;
        // The first data that no longer announces the change is of the new configuration. So is
        // what only that one fits.
        let was_announced = std::mem::replace(&mut self.is_announced, is_announced);
        let counts = !self.fits(frame) || was_announced && !is_announced;
        let fits_next = |next: &mut Arc<Known>| fits(&next.configuration, frame);
        let next = if counts { self.next.take_if(fits_next) } else { None };
        let is_new = next.is_some();
        if let Some(next) = next {
            self.current = next;
        } else if !self.fits(frame) {
            return Err(BadInput::Mismatch);
        }
        let known = Arc::clone(&self.current);
        let utc_ns = frame.stamp.utc_ns(known.configuration.time_base).ok_or(BadInput::Time)?;
        let missing = self.missing(known.configuration.data_rate, utc_ns);
        let is_told = is_new || now_ns.saturating_sub(self.told_ns) >= TELL_EVERY_NS;
        if is_told {
            self.told_ns = now_ns;
        }
        Ok(Taken::Data { known, is_told, asks, missing })
    }

    /// How many frames are missing between the newest before and this one, by their instants. A
    /// longer pause is one of the device, or its clock was set.
    fn missing(&mut self, data_rate: i16, utc_ns: u64) -> u64 {
        let Ok(rate @ 1..) = u64::try_from(data_rate) else { return 0 };
        let (seconds, rest) = (utc_ns / NS_PER_S, utc_ns % NS_PER_S);
        let number = seconds * rate + (rest * rate + NS_PER_S / 2) / NS_PER_S;
        let before = self.newest.unwrap_or(number);
        if number.abs_diff(before) > rate * PAUSE_S {
            self.newest = Some(number);
            return 0;
        }
        self.newest = Some(number.max(before));
        number.saturating_sub(before).saturating_sub(1)
    }

    fn fits(&self, frame: &Frame<'_>) -> bool {
        fits(&self.current.configuration, frame)
    }
}

fn fits(configuration: &Configuration, frame: &Frame<'_>) -> bool {
    frame.bytes.len() == configuration.data_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::frame::First;
    use crate::c37118::samples;

    const S: u64 = 1_000_000_000;

    struct Rig {
        streams: Streams,
        now_ns: u64,
    }

    impl Rig {
        fn new(ids: &[u16]) -> Self {
            Self { streams: Streams::new(ids.to_vec(), FrameKind::Config2), now_ns: 0 }
        }

        fn take(&mut self, peer: u64, bytes: &[u8]) -> Result<Taken, BadInput> {
            let First::Whole(frame) = Frame::first(bytes) else { panic!("not whole") };
            self.now_ns += 1_000_000;
            self.streams.take(Peer(peer), &frame, self.now_ns)
        }

        /// How many phasors the configuration has by which data was read, and what is told of it.
        fn data(&mut self, peer: u64, bytes: &[u8]) -> Result<(usize, bool, bool), BadInput> {
            match self.take(peer, bytes)? {
                Taken::Data { known, is_told, asks, .. } => {
                    Ok((known.configuration.stations[0].phasors.len(), is_told, asks))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn config(id: u16, phasors: u16) -> Vec<u8> {
        let body = samples::config2_body(&[(9, 0, (phasors, 0, 0))], 1_000_000);
        samples::frame(FrameKind::Config2, id, 0, &body)
    }

    fn data(id: u16, phasors: usize, stat: u8) -> Vec<u8> {
        let mut body = vec![0; 6 + 4 * phasors];
        body[0] = stat;
        samples::frame(FrameKind::Data, id, 0, &body)
    }

    const ANNOUNCES: u8 = 0x04;

    #[test]
    fn data_waits_for_its_configuration() {
        let mut rig = Rig::new(&[]);
        assert_eq!(rig.data(1, &data(7, 2, 0)), Err(BadInput::NoConfiguration));
        assert!(matches!(rig.take(1, &config(7, 2)), Ok(Taken::Configuration(_))));
        assert_eq!(rig.data(1, &data(7, 2, 0)), Ok((2, false, false)));
        assert_eq!(rig.data(1, &data(8, 2, 0)), Err(BadInput::NoConfiguration));
        assert_eq!(rig.data(1, &data(7, 3, 0)), Err(BadInput::Mismatch));
    }

    #[test]
    fn an_announced_configuration_counts_when_the_data_says_so() {
        let mut rig = Rig::new(&[]);
        rig.take(1, &config(7, 2)).unwrap();
        assert_eq!(rig.data(1, &data(7, 2, ANNOUNCES)), Ok((2, false, true)), "it is asked for");
        assert_eq!(rig.data(1, &data(7, 2, ANNOUNCES)), Ok((2, false, false)), "once");
        assert_eq!(rig.take(1, &config(7, 3)), Ok(Taken::Later));
        assert_eq!(rig.data(1, &data(7, 2, ANNOUNCES)), Ok((2, false, false)));
        assert_eq!(rig.data(1, &data(7, 3, 0)), Ok((3, true, false)));
        assert_eq!(rig.data(1, &data(7, 3, 0)), Ok((3, false, false)));
    }

    #[test]
    fn a_change_of_scale_alone_counts_at_the_same_instant() {
        let mut rig = Rig::new(&[]);
        rig.take(1, &config(7, 1)).unwrap();
        rig.data(1, &data(7, 1, ANNOUNCES)).unwrap();
        let body = samples::config2_body(&[(9, 1, (1, 0, 0))], 1_000_000);
        assert_eq!(rig.take(1, &samples::frame(FrameKind::Config2, 7, 0, &body)), Ok(Taken::Later));
        assert_eq!(rig.data(1, &data(7, 1, ANNOUNCES)), Ok((1, false, false)));
        assert_eq!(rig.data(1, &data(7, 1, 0)), Ok((1, true, false)));
    }

    #[test]
    fn an_unannounced_configuration_counts_at_once() {
        let mut rig = Rig::new(&[]);
        rig.take(1, &config(7, 2)).unwrap();
        assert!(matches!(rig.take(1, &config(7, 1)), Ok(Taken::Configuration(_))));
        assert_eq!(rig.data(1, &data(7, 1, 0)), Ok((1, false, false)));
    }

    #[test]
    fn a_configuration_without_an_idcode_is_for_its_senders_data() {
        let mut rig = Rig::new(&[7]);
        assert_eq!(rig.take(1, &config(0, 2)), Ok(Taken::Later));
        assert_eq!(rig.data(2, &data(7, 2, 0)), Err(BadInput::NoConfiguration));
        assert_eq!(rig.data(1, &data(7, 2, 0)), Ok((2, true, false)));
        assert_eq!(rig.data(1, &data(7, 2, 0)), Ok((2, false, false)));
        assert_eq!(rig.data(1, &data(8, 2, 0)), Err(BadInput::UnknownId));
    }

    #[test]
    fn an_idcode_belongs_to_one_sender_until_it_is_silent() {
        let mut rig = Rig::new(&[]);
        rig.take(1, &config(7, 2)).unwrap();
        assert_eq!(rig.take(2, &config(7, 1)), Err(BadInput::IdTaken));
        assert_eq!(rig.data(2, &data(7, 2, 0)), Err(BadInput::IdTaken));
        rig.now_ns += 6 * S;
        assert!(matches!(rig.take(2, &config(7, 1)), Ok(Taken::Configuration(_))));
        assert_eq!(rig.data(1, &data(7, 2, 0)), Err(BadInput::IdTaken));
        rig.streams.release(Peer(2));
        assert_eq!(rig.data(1, &data(7, 2, 0)), Err(BadInput::NoConfiguration));
    }

    #[test]
    fn a_configuration_is_told_again_every_minute() {
        let mut rig = Rig::new(&[]);
        rig.take(1, &config(7, 2)).unwrap();
        rig.now_ns += 59 * S;
        assert_eq!(rig.data(1, &data(7, 2, 0)), Ok((2, false, false)));
        rig.now_ns += S;
        assert_eq!(rig.data(1, &data(7, 2, 0)), Ok((2, true, false)));
        assert_eq!(rig.data(1, &data(7, 2, 0)), Ok((2, false, false)));
    }

    #[test]
    fn configurations_are_bounded() {
        let mut rig = Rig::new(&[]);
        let taken = (1..400).map(|id| rig.take(1, &config(id, 3000))).filter(Result::is_ok).count();
        let bytes = config(1, 3000).len();
        assert_eq!(taken, CONFIGURATION_BYTES_MAX / bytes);
        assert_eq!(rig.take(1, &config(500, 3000)), Err(BadInput::TooMany));
        rig.streams.release(Peer(1));
        assert!(rig.take(1, &config(500, 3000)).is_ok());
    }

    #[test]
    fn who_is_silent_makes_room() {
        let mut rig = Rig::new(&[]);
        let mut id = 0;
        // Half of the configurations are without an IDCODE, each of another sender.
        let mut fill = |rig: &mut Rig| loop {
            id += 1;
            let taken = rig.take(id, &config(if id % 2 == 0 { 0 } else { id as u16 }, 3000));
            if taken == Err(BadInput::TooMany) {
                return id;
            }
        };
        let first = fill(&mut rig);
        rig.now_ns += KEPT_NS / 2;
        assert_eq!(rig.data(1, &data(1, 3000, 0)), Ok((3000, true, false)));
        rig.now_ns += KEPT_NS / 2;
        assert_eq!(fill(&mut rig) - first, first - 1, "all but one have made room");
        assert_eq!(rig.data(1, &data(1, 3000, 0)), Ok((3000, true, false)));
        assert_eq!(rig.data(3, &data(3, 3000, 0)), Err(BadInput::NoConfiguration));
    }

    fn part(id: u16, number: u16, body: &[u8]) -> Vec<u8> {
        samples::frame(FrameKind::Config3, id, 0, &[&number.to_be_bytes()[..], body].concat())
    }

    #[test]
    fn a_configuration_in_parts_is_none_before_the_last() {
        let mut rig = Rig::new(&[]);
        let body = samples::config3_body();
        let (first, rest) = body.split_at(40);
        assert_eq!(rig.take(1, &part(7, 1, first)), Ok(Taken::Part));
        assert_eq!(rig.take(1, &part(7, 2, &rest[..9])), Ok(Taken::Part));
        let last = rig.take(1, &part(7, 0xFFFF, &rest[9..]));
        assert!(matches!(last, Ok(Taken::Configuration(_))), "{last:?}");
    }

    #[test]
    fn parts_of_two_senders_are_not_mixed_and_what_is_never_whole_is_forgotten() {
        let mut rig = Rig::new(&[]);
        let body = samples::config3_body();
        let (first, last) = body.split_at(40);
        for peer in 1..=16 {
            assert_eq!(rig.take(peer, &part(7, 1, first)), Ok(Taken::Part));
        }
        assert_eq!(rig.take(17, &part(7, 1, first)), Err(BadInput::TooMany));
        assert!(matches!(rig.take(2, &part(7, 0xFFFF, last)), Ok(Taken::Configuration(_))));
        rig.streams.release(Peer(2));
        rig.now_ns += PART_NS;
        assert_eq!(rig.take(17, &part(7, 1, first)), Ok(Taken::Part));
        assert_eq!(rig.streams.collecting.len(), 1);
        rig.streams.release(Peer(17));
        assert!(rig.streams.collecting.is_empty());
    }

    #[test]
    fn frames_that_never_came_are_counted_by_their_instants() {
        let mut rig = Rig::new(&[]);
        rig.take(1, &config(7, 1)).unwrap();
        // 50 frames a second: 20 ms apart.
        let missing = [0, 20, 40, 100, 80, 120, 4_000_000].map(|ms: u32| {
            let data = samples::frame(FrameKind::Data, 7, ms * 1000, &[0; 10]);
            match rig.take(1, &data) {
                Ok(Taken::Data { missing, .. }) => missing,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(missing, [0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn what_a_device_does_not_send_is_told() {
        let mut rig = Rig::new(&[]);
        let command = samples::frame(FrameKind::Command, 7, 0, &[0, 1]);
        assert_eq!(rig.take(1, &command), Err(BadInput::Unexpected));
        let capability = samples::frame(FrameKind::Config1, 7, 0, &[]);
        assert_eq!(rig.take(1, &capability), Ok(Taken::Other));
        let header = samples::frame(FrameKind::Header, 7, 0, b"a device");
        assert_eq!(rig.take(1, &header), Ok(Taken::Other));
    }
}
