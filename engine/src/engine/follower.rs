//! Following a feed from a thread that is not a core: a cursor in a lane of its own form. Owns
//! where it stands, a few frames that were taken out of the lane, and how many it missed. Must not
//! hold segments between two reads, so that whoever reads slowly costs no memory.

use std::sync::Arc;

use crate::clock::Clock;
use crate::delivery::doorbell::{Doorbell, Tap, Wake};
use crate::feed::awaited;
use crate::feed::cursor::Cursor;
use crate::feed::kind::LaneKind;
use crate::feed::lane_reader::LaneReader;
use crate::feed::log::{Feed, FeedName, Opened};
use crate::feed::registry::{FeedError, Registry};
use crate::wire::export::{self, Exported};

/// Bytes that are taken out of a lane at once, if the first frame is not longer.
const TAKEN_BYTES_MAX: u64 = 64 << 10;
/// The only lane that a follower's doorbell rings for.
const LANE_KEY: u32 = 0;

/// See the file header.
#[derive(Debug)]
pub struct Follower {
    feed: Arc<Feed>,
    clock: Clock,
    tap: Arc<Tap>,
    doorbell: Arc<Doorbell>,
    /// The first frame that was not taken yet.
    cursor: Cursor,
    /// Frames that were taken, of which those before `read_bytes` were handed out.
    taken: Vec<u8>,
    read_bytes: usize,
    missed: u64,
}

impl Follower {
    pub(crate) fn new(
        registry: &Registry,
        name: FeedName,
        clock: Clock,
        wake: Box<dyn Wake>,
    ) -> Result<Self, FeedError> {
        let doorbell = Arc::new(Doorbell::new(wake));
        let (feed, Opened { reader, tap }) = loop {
            let feed = registry.follow(&name, &awaited::Follower::default(), clock.now_ns())?;
            // One that was just retired is looked up anew.
            if let Some(opened) = feed.open(LaneKind::EXPORT, &doorbell, LANE_KEY) {
                break (feed, opened);
            }
        };
        feed.joined();
        // Publishers never wait for it: it misses what retention takes, and says so.
        tap.close();
        let cursor = reader.latest();
        let taken = Vec::new();
        Ok(Self { feed, clock, tap, doorbell, cursor, taken, read_bytes: 0, missed: 0 })
    }

    /// The topic or pattern, and the rate.
    #[must_use]
    pub fn name(&self) -> &FeedName {
        self.feed.name()
    }

    /// The next message. None when there is none now: what was given to wake it is called when
    /// there is.
    #[expect(clippy::should_implement_trait, reason = "what is lent is no item of an iterator")]
    pub fn next(&mut self) -> Option<Exported<'_>> {
        loop {
            if self.read_bytes >= self.taken.len() {
                self.take()?;
            }
            let begin = self.read_bytes;
            let (exported, rest) = export::split(&self.taken[begin..])?;
            self.read_bytes = self.taken.len() - rest.len();
            match exported.missed() {
                Some(frames) => self.missed = self.missed.saturating_add(frames),
                None => break self.read_at(begin),
            }
        }
    }

    fn read_at(&self, begin: usize) -> Option<Exported<'_>> {
        export::split(self.taken.get(begin..)?).map(|(exported, _)| exported)
    }

    /// How many messages retention took before they were read, since this was last asked.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Takes frames out of the lane; none if there are none, and then the doorbell wakes.
    fn take(&mut self) -> Option<()> {
        self.doorbell.unpark();
        loop {
            while self.doorbell.take().is_some() {}
            self.tap.clear();
            let reader = self.feed.view(LaneKind::EXPORT)?;
            self.skip_lapsed(&reader);
            if self.cursor.frame_pos < reader.head().pos {
                self.copy_from(&reader);
                return Some(());
            }
            if self.doorbell.park() {
                return None;
            }
        }
    }

    fn skip_lapsed(&mut self, reader: &LaneReader) {
        if reader.has_lapped(self.cursor) {
            let oldest = reader.oldest();
            let missed = oldest.ordinal.saturating_sub(self.cursor.ordinal);
            self.missed = self.missed.saturating_add(missed);
            self.cursor = oldest;
        }
    }

    fn copy_from(&mut self, reader: &LaneReader) {
        let share = reader.share(self.cursor, TAKEN_BYTES_MAX);
        self.taken.clear();
        self.taken.extend_from_slice(share);
        self.read_bytes = 0;
        self.cursor = reader.advance(self.cursor, share.len() as u64);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let now_ns = self.clock.now_ns();
        self.feed.left(now_ns);
        self.feed.shut(LaneKind::EXPORT, &self.tap, now_ns);
    }
}
