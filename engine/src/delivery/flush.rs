//! Flushing one connection: gather what its cursors have not sent, write it in one call, and move
//! the cursors by what the socket took. Owns frame boundaries: a frame once begun is finished
//! before anything else goes out. Must not know events, clocks, or other connections; the socket is
//! a trait, so the same code runs in the engine and in the seeded simulation.
//!
//! # The three states
//! * `CaughtUp`: nothing waits. Only new bytes change this.
//! * `Ready`: bytes wait and the socket may take them, but the budget ended the flush. Stopping for
//!   budget brings no event, so the owner must come back by itself.
//! * `Blocked`: bytes wait and the socket refused them. A writable event will come.

use std::io::{self, IoSlice};
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::delivery::outbox::Outbox;
use crate::delivery::subscriptions::{Subscription, Subscriptions};
use crate::delivery::sweep::Lanes;
use crate::feed::cursor::Cursor;
use crate::feed::encoder::announcement;
use crate::feed::gap::{Gap, GapReason, Missed};
use crate::feed::lag;
use crate::feed::lag::Lapse;
use crate::feed::options::{LagPolicy, Mode};

/// Most slices one write gathers: a dashboard follows a few dozen topics, and a longer gather only
/// delays others.
const GATHER_MAX: usize = 64;
/// Bytes of one feed in a write that others wait for as well: a replay must not hold up what is
/// live.
const SHARE_BYTES_MAX: u64 = 16 << 10;
/// Private bytes above which nothing is conflated, so that the notices of it have a bound.
const NOTICE_BYTES_MAX: usize = 64 << 10;
/// The rest of a torn frame that is copied to free what lies behind it.
const TORN_BYTES_MAX: usize = 4 << 10;

/// Something that takes bytes without blocking.
pub trait Socket {
    /// Writes as much as it takes now; `WouldBlock` means a writable event will follow.
    ///
    /// # Errors
    /// As `write(2)`.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends what the socket itself holds back of bytes it took; answers whether all of it is out.
    /// If not, a writable event will follow. A socket that holds nothing back has no more to say.
    ///
    /// # Errors
    /// As `write(2)`.
    fn push(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}

/// See the file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushState {
    /// Nothing waits.
    CaughtUp,
    /// Bytes wait; the owner must come back.
    Ready,
    /// Bytes wait for the socket.
    Blocked,
}

/// What flushes did, for metrics; added up by the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Calls to `write` that took bytes.
    pub writes: u64,
    /// Of those, calls that took less than they were given.
    pub writes_partial: u64,
    /// Calls that took nothing.
    pub writes_blocked: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// Frames that became complete.
    pub frames: u64,
    /// Frames skipped because the subscriber asked for the newest only.
    pub frames_conflated: u64,
    /// Gaps that subscribers were told of and went on after.
    pub gaps: u64,
    /// Frames in those gaps.
    pub gap_frames: u64,
}

/// Why a flush ends a connection.
#[derive(Debug)]
pub enum FlushEnd {
    /// Retention passed it and its policy, or its form, is to disconnect.
    Lapsed(Gap),
    /// The socket failed.
    Failed(io::Error),
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct Delivery {
    subscriptions: Subscriptions,
    outbox: Outbox,
    state: FlushState,
    /// Set when the socket refused bytes since the connection was last caught up: only then does
    /// it lag, and only a lagging one is conflated.
    lags: bool,
    /// Set while its one subscription is there to be visited when its lane has moved, and nothing
    /// of the lane is sent.
    only_waits: bool,
}

/// Where gathered bytes came from.
#[derive(Clone, Copy)]
enum Source {
    Outbox,
    Feed(u32),
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            outbox: Outbox::default(),
            state: FlushState::CaughtUp,
            lags: false,
            only_waits: false,
        }
    }
}

impl Delivery {
    /// The state as of the last flush.
    pub fn state(&self) -> FlushState {
        self.state
    }

    /// True from the moment the socket refused bytes until everything is sent.
    pub fn lags(&self) -> bool {
        self.lags
    }

    /// The subscriptions, in no particular order.
    pub fn subscriptions(&self) -> &[Subscription] {
        self.subscriptions.all()
    }

    /// The subscriptions, to be moved by [`Lanes`].
    pub fn subscriptions_mut(&mut self) -> &mut [Subscription] {
        self.subscriptions.all_mut()
    }

    /// Makes this the sending half of a connection that may have many subscriptions.
    pub fn multiplex(&mut self) {
        debug_assert!(self.subscriptions().is_empty(), "before the first subscription");
        self.subscriptions = Subscriptions::many();
    }

    /// True when it may have many subscriptions: then one that is behind is [marked](Self::mark)
    /// first, so that one write carries what all of them wait for.
    pub fn is_multiplexed(&self) -> bool {
        self.subscriptions.is_many()
    }

    /// Adds a subscription; its index is the number there were.
    pub fn subscribe(&mut self, subscription: Subscription) {
        self.subscriptions.add(subscription);
    }

    /// Has its owner be visited when the lane of a subscription has moved; nothing of it is sent.
    pub fn wait_at(&mut self, subscription: Subscription) {
        self.subscriptions.add(subscription);
        self.only_waits = true;
    }

    /// True when its subscription only waits.
    pub fn only_waits(&self) -> bool {
        self.only_waits
    }

    /// Notes that a subscription of a multiplexed connection may have something to send.
    pub fn mark(&mut self, index: u32) {
        self.subscriptions.mark(index);
    }

    /// Takes one subscription out, finishing from the outbox what it has torn. The last one takes
    /// its index, and [`Lanes`] must be told.
    pub fn unsubscribe(&mut self, index: u32, lanes: &Lanes) -> Option<Subscription> {
        if self.torn() == Some(index) {
            self.save_torn_frame(lanes);
        }
        self.subscriptions.remove(index)
    }

    /// Takes all subscriptions out. A frame that was torn is finished from the outbox.
    pub fn unsubscribe_all(&mut self, lanes: &Lanes) -> Vec<Subscription> {
        self.save_torn_frame(lanes);
        self.only_waits = false;
        std::mem::take(&mut self.subscriptions).into_all()
    }

    /// Queues whole private frames, to go out at the next frame boundary.
    pub fn push_private(&mut self, frames: &[u8]) {
        self.outbox.push(frames);
    }

    /// The private bytes that wait.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Bytes of user memory held beside its own.
    pub fn memory_bytes(&self) -> usize {
        self.subscriptions.memory_bytes() + self.outbox.memory_bytes()
    }

    /// Sends what waits, at most about `bytes_max`, and notes the state this leaves.
    ///
    /// # Errors
    /// [`FlushEnd`] when the connection cannot go on.
    pub fn flush(
        &mut self,
        lanes: &Lanes,
        socket: &mut impl Socket,
        bytes_max: usize,
        stats: &mut FlushStats,
    ) -> Result<FlushState, FlushEnd> {
        // Whoever calls has seen the socket writable, or never seen it refuse: should this flush
        // end early, no event is owed any more and what is said last may go out at once.
        self.state = FlushState::Ready;
        let mut budget = bytes_max;
        self.subscriptions.pass_caught_up(lanes);
        self.state = loop {
            if self.lags {
                self.conflate(lanes, stats);
            }
            match self.write_once(lanes, socket, budget, stats) {
                Ok(Written::Nothing) => break FlushState::CaughtUp,
                Ok(Written::All(_)) if self.is_caught_up(lanes) => break FlushState::CaughtUp,
                Ok(Written::All(count)) if count < budget => budget -= count,
                Ok(Written::All(_)) => break FlushState::Ready,
                Ok(Written::Part) => break FlushState::Blocked,
                Err(error) => return Err(FlushEnd::Failed(error)),
            }
        };
        self.lags = match self.state {
            FlushState::CaughtUp => false,
            FlushState::Ready => self.lags,
            FlushState::Blocked => true,
        };
        self.check(lanes);
        Ok(self.state)
    }

    /// True when a subscription has still to be sent something before this lane position.
    pub fn stands_before(&self, index: u32, pos: u64) -> bool {
        let subscription = self.subscriptions().get(index as usize);
        subscription.is_some_and(|subscription| subscription.cursor.pos() < pos)
    }

    /// Applies the lag policy to one subscription if retention has passed its cursor. For a blocked
    /// connection, before a reader lets passed segments go: the rest of a torn frame is copied from
    /// there.
    ///
    /// # Errors
    /// [`FlushEnd::Lapsed`] when the policy is to disconnect.
    pub fn lapse_at(
        &mut self,
        index: u32,
        lanes: &Lanes,
        stats: &mut FlushStats,
    ) -> Result<(), FlushEnd> {
        let Some(&subscription) = self.subscriptions().get(index as usize) else { return Ok(()) };
        let Subscription { lane, cursor, mode, lag: policy, .. } = subscription;
        let reader = lanes.reader(lane);
        if !reader.has_lapped(cursor) {
            return Ok(());
        }
        if cursor.is_torn() {
            self.outbox.push_torn_rest(reader.torn_rest(cursor));
        }
        let next = Cursor::at(cursor.frame_pos, cursor.ordinal + u64::from(cursor.is_torn()));
        if mode == Mode::Latest {
            // It asked for the newest only: what retention has passed is left out like the rest.
            self.skip_to_newest(index, next, lanes, stats);
            return Ok(());
        }
        let (resume, end) = match lag::lapse(policy, cursor, reader) {
            Lapse::Resume(resume) => (resume, Ok(())),
            Lapse::Disconnect(missed) => {
                (reader.oldest(), Err(FlushEnd::Lapsed(lanes.feed(lane).gap(missed))))
            }
            Lapse::Skip(missed, resume) => {
                self.tell_missed(lanes, lane, missed, stats);
                (resume, Ok(()))
            }
        };
        self.subscriptions_mut()[index as usize].cursor = resume;
        end
    }

    /// Goes on with the newest frame wherever frames may be lost, for memory is short, and tells
    /// the gap. A torn frame is finished first; where much of it is left, another time will do.
    pub fn shed(&mut self, lanes: &Lanes, stats: &mut FlushStats) {
        for index in 0..self.subscriptions().len() as u32 {
            let Subscription { lane, cursor, mode, lag, .. } = self.subscriptions()[index as usize];
            if self.outbox.pending().len() > NOTICE_BYTES_MAX {
                return;
            }
            if mode == Mode::Latest {
                if !cursor.is_torn() {
                    self.skip_to_newest(index, cursor, lanes, stats);
                }
            } else if lag != LagPolicy::Disconnect {
                self.shed_one(index, lane, lanes, stats);
            }
        }
    }

    fn shed_one(&mut self, index: u32, lane: u32, lanes: &Lanes, stats: &mut FlushStats) {
        let (cursor, reader) = (self.subscriptions()[index as usize].cursor, lanes.reader(lane));
        let (from, newest) = (cursor.ordinal + u64::from(cursor.is_torn()), reader.newest());
        let rest = if cursor.is_torn() { reader.torn_rest(cursor) } else { &[] };
        if newest.ordinal <= from || rest.len() > TORN_BYTES_MAX {
            return;
        }
        if cursor.is_torn() {
            self.outbox.push_torn_rest(rest);
        }
        let missed = Missed { from, to: newest.ordinal - 1, reason: GapReason::Lagged };
        self.tell_missed(lanes, lane, missed, stats);
        self.subscriptions_mut()[index as usize].cursor = newest;
    }

    /// Queues the notice of what a subscriber missed, and whatever else those frames would have
    /// told it.
    fn tell_missed(&mut self, lanes: &Lanes, lane: u32, missed: Missed, stats: &mut FlushStats) {
        let gap = lanes.feed(lane).gap(missed);
        self.tell(lanes, lane, gap);
        self.announce(lanes, lane, missed.from..missed.to + 1);
        stats.gaps += 1;
        stats.gap_frames += gap.frames_known();
    }

    /// Queues the notice of `gap` in the form of a lane.
    pub fn tell(&mut self, lanes: &Lanes, lane: u32, gap: Gap) {
        let notice = lanes.reader(lane).kind().gap_notice(lanes.feed(lane).target(), gap);
        self.outbox.push(&notice);
    }

    /// Tells the numbers of topics that were announced in frames this connection does not get.
    fn announce(&mut self, lanes: &Lanes, lane: u32, ordinals: Range<u64>) {
        let reader = lanes.reader(lane);
        if reader.has_announced_since(ordinals.start) {
            for origin in lanes.feed(lane).announced(reader.kind(), ordinals) {
                self.outbox.push(&announcement(&origin));
            }
        }
    }

    /// Moves the cursors of `mode=latest` subscriptions to the newest frame, at a frame boundary:
    /// of those whose turn may come with the next write.
    fn conflate(&mut self, lanes: &Lanes, stats: &mut FlushStats) {
        for turn in 0..GATHER_MAX {
            let Some(index) = self.subscriptions.behind(turn) else { return };
            let Subscription { lane, mode, cursor, .. } = self.subscriptions()[index as usize];
            let has_room = self.outbox.pending().len() <= NOTICE_BYTES_MAX;
            let has_newer = lanes.reader(lane).head().ordinal > cursor.ordinal + 1;
            if mode == Mode::Latest && has_newer && !cursor.is_torn() && has_room {
                self.skip_to_newest(index, cursor, lanes, stats);
            }
        }
    }

    /// Leaves out what lies between `from`, the frame that would be next, and the newest one. A
    /// multiplexed subscriber is told how much that was.
    fn skip_to_newest(&mut self, index: u32, from: Cursor, lanes: &Lanes, stats: &mut FlushStats) {
        let lane = self.subscriptions()[index as usize].lane;
        let reader = lanes.reader(lane);
        let newest = reader.newest();
        if newest.ordinal > from.ordinal {
            stats.frames_conflated += newest.ordinal - from.ordinal;
            if reader.kind().is_multiplexed() {
                let (from, to) = (from.ordinal, newest.ordinal - 1);
                let missed = Missed { from, to, reason: GapReason::Conflated };
                self.tell(lanes, lane, lanes.feed(lane).gap(missed));
                self.announce(lanes, lane, from..newest.ordinal);
            }
        }
        if newest.frame_pos > from.frame_pos {
            self.subscriptions_mut()[index as usize].cursor = newest;
        }
    }

    fn write_once(
        &mut self,
        lanes: &Lanes,
        socket: &mut impl Socket,
        bytes_max: usize,
        stats: &mut FlushStats,
    ) -> io::Result<Written> {
        if !socket.push()? {
            stats.writes_blocked += 1;
            return Ok(Written::Part);
        }
        let (answer, pieces, given) = {
            let mut gather = Gather::default();
            self.gather(lanes, bytes_max, &mut gather);
            if gather.bytes == 0 {
                return Ok(Written::Nothing);
            }
            (write_uninterrupted(socket, &gather.slices), gather.pieces, gather.bytes)
        };
        let taken = match answer {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stats.writes_blocked += 1;
                return Ok(Written::Part);
            }
            Err(error) => return Err(error),
        };
        stats.writes += 1;
        stats.bytes += taken as u64;
        self.advance(lanes, &pieces, taken, stats);
        if taken < given || !socket.push()? {
            stats.writes_partial += 1;
            return Ok(Written::Part);
        }
        Ok(Written::All(taken))
    }

    /// Lists what goes out next. The frame that is torn, or the outbox once begun, is first.
    fn gather<'a>(&'a self, lanes: &'a Lanes, bytes_max: usize, gather: &mut Gather<'a>) {
        gather.bytes_max = bytes_max;
        let torn = self.torn();
        if let Some(index) = torn {
            let Subscription { lane, cursor, mode, .. } = self.subscriptions()[index as usize];
            let rest = lanes.reader(lane).torn_rest(cursor);
            gather.push(Source::Feed(index), rest);
            gather.push(Source::Outbox, self.outbox.pending());
            // Behind the torn frame of a `latest` subscription comes the newest, not the next.
            if mode == Mode::Lossless && !self.is_multiplexed() {
                gather.push_feed(lanes, index, cursor.pos() + rest.len() as u64, self);
            }
        } else {
            gather.push(Source::Outbox, self.outbox.pending());
        }
        if !self.is_multiplexed() {
            if let (None, false, Some(index)) =
                (torn, self.only_waits, self.subscriptions.behind(0))
            {
                let pos = self.subscriptions()[index as usize].cursor.pos();
                gather.push_feed(lanes, index, pos, self);
            }
            return;
        }
        let are_many = self.subscriptions.behind(1).is_some();
        let share_bytes_max = if are_many { SHARE_BYTES_MAX } else { u64::MAX };
        let turns = usize::from(torn.is_some())..GATHER_MAX;
        for index in turns.map_while(|turn| self.subscriptions.behind(turn)) {
            let Subscription { lane, cursor, .. } = self.subscriptions()[index as usize];
            let share = lanes.reader(lane).share(cursor, share_bytes_max);
            if !gather.push(Source::Feed(index), share) {
                return;
            }
        }
    }

    /// Moves outbox and cursors past `taken` bytes of what was gathered. Whoever was sent some of
    /// them has had its turn.
    fn advance(
        &mut self,
        lanes: &Lanes,
        pieces: &[(Source, usize)],
        mut taken: usize,
        stats: &mut FlushStats,
    ) {
        for &(source, len) in pieces {
            let part = len.min(taken);
            taken -= part;
            match source {
                _ if part == 0 => break,
                Source::Outbox => self.outbox.advance(part),
                Source::Feed(index) => {
                    let subscription = &mut self.subscriptions_mut()[index as usize];
                    let reader = lanes.reader(subscription.lane);
                    let moved = reader.advance(subscription.cursor, part as u64);
                    stats.frames += moved.ordinal - subscription.cursor.ordinal;
                    subscription.cursor = moved;
                    self.subscriptions.end_turn(index, lanes);
                }
            }
        }
        self.subscriptions.pass_caught_up(lanes);
    }

    /// Whether nothing waits, once those that are caught up were passed over.
    fn is_caught_up(&self, lanes: &Lanes) -> bool {
        let first = self.subscriptions.behind(0).filter(|_| !self.only_waits);
        let is_behind = |index: u32| !self.subscriptions()[index as usize].is_caught_up(lanes);
        self.outbox.is_empty() && !first.is_some_and(is_behind)
    }

    fn torn(&self) -> Option<u32> {
        let is_torn = |index: &u32| self.subscriptions()[*index as usize].cursor.is_torn();
        self.subscriptions.behind(0).filter(is_torn)
    }

    fn save_torn_frame(&mut self, lanes: &Lanes) {
        let Some(index) = self.torn() else { return };
        let subscription = self.subscriptions()[index as usize];
        let rest = lanes.reader(subscription.lane).torn_rest(subscription.cursor);
        self.outbox.push_torn_rest(rest);
        self.subscriptions_mut()[index as usize].cursor.torn_bytes = 0;
    }

    /// Has the rest of a torn frame sent from the outbox, so that every cursor stands at the
    /// beginning of a frame. To be called between flushes; nothing else changes.
    pub fn mend(&mut self, lanes: &Lanes) {
        let Some(index) = self.torn() else { return };
        let Subscription { lane, cursor, .. } = self.subscriptions()[index as usize];
        self.save_torn_frame(lanes);
        let after = lanes.reader(lane).after(Cursor::at(cursor.frame_pos, cursor.ordinal));
        self.subscriptions_mut()[index as usize].cursor = after;
    }

    /// Begins with what another process had still to send; where `is_begun`, only that may follow
    /// what it sent.
    pub fn begin_with(&mut self, pending: &[u8], is_begun: bool) {
        match is_begun {
            true => self.outbox.push_torn_rest(pending),
            false => self.outbox.push(pending),
        }
    }

    /// What must hold after every flush.
    fn check(&self, lanes: &Lanes) {
        if cfg!(debug_assertions) {
            let torn = self.subscriptions().iter().filter(|s| s.cursor.is_torn()).count();
            assert!(torn + usize::from(self.outbox.is_begun()) <= 1, "at most one frame is torn");
            let caught_up = self.state == FlushState::CaughtUp;
            assert!(!caught_up || self.is_caught_up(lanes), "caught up means nothing waits");
            assert!(!caught_up || !self.lags, "a caught-up connection does not lag");
        }
    }
}

enum Written {
    Nothing,
    All(usize),
    Part,
}

/// One write's worth of bytes, and whose they are.
#[derive(Default)]
struct Gather<'a> {
    slices: ArrayVec<IoSlice<'a>, GATHER_MAX>,
    pieces: ArrayVec<(Source, usize), GATHER_MAX>,
    bytes: usize,
    bytes_max: usize,
}

impl<'a> Gather<'a> {
    /// Adds bytes if there are any and room is left; answers whether more may follow.
    fn push(&mut self, source: Source, bytes: &'a [u8]) -> bool {
        if self.is_full() {
            return false;
        }
        if !bytes.is_empty() {
            self.slices.push(IoSlice::new(bytes));
            self.pieces.push((source, bytes.len()));
            self.bytes += bytes.len();
        }
        !self.is_full()
    }

    fn push_feed(&mut self, lanes: &'a Lanes, index: u32, pos: u64, delivery: &Delivery) {
        let lane = delivery.subscriptions()[index as usize].lane;
        lanes.reader(lane).slices(pos, |bytes| self.push(Source::Feed(index), bytes));
    }

    fn is_full(&self) -> bool {
        self.slices.is_full() || self.bytes >= self.bytes_max
    }
}

fn write_uninterrupted(socket: &mut impl Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match socket.write(slices) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
