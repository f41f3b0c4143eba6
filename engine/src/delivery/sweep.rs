//! The lanes a core's connections follow, who follows each, and the sweep that visits them when a
//! lane has moved. Owns the order of visits: in quanta, lanes taking turns, the first visited
//! rotating. Must not touch sockets; it says which connection is next.
//!
//! # How often a lane is swept
//! The first frame after a quiet time has its lane swept at once. A lane that moves again during
//! its sweep, or soon after, rests for as long as the sweep took, what a setting allows at most:
//! whoever waits no longer than what the next sweep costs pays at most twice what would have been
//! best, and what comes meanwhile shares the writes. Publishers that have to wait end the rest.
//!
//! # What retention passes
//! A lane's segments that retention has passed stay with this core until no subscriber that takes
//! bytes stands in them. After a sweep every member is [looked at](Lanes::look): a blocked one
//! lapses, any other has the segments kept for it until the next look. Only then are they let go
//! and publishers told how far the core is, so those wait while it keeps more than a feed does.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::delivery::doorbell::{Doorbell, Tap};
use crate::feed::cursor::Cursor;
use crate::feed::epoch::Position;
use crate::feed::kind::LaneKind;
use crate::feed::lane_reader::{Head, LaneReader};
use crate::feed::log::Feed;
use crate::feed::options::From;

/// Visits to one lane before the next lane gets its turn.
const QUANTUM: usize = 64;
/// Sweeps it takes for the first visited to go once round all members.
const ROTATION: usize = 16;
/// A sweep that takes no longer is repeated at once: to rest costs a wake-up, and caches that
/// others have used meanwhile. A sweep of fifty members takes a fifth of this.
const CHEAP_SWEEP_NS: u64 = 1_000_000;

/// A connection's place among a lane's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The core's key of the connection.
    pub conn: u32,
    /// Which of its subscriptions.
    pub subscription: u32,
}

/// What a sweep does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// This member is behind: flush its connection, or have it flushed soon.
    Visit(Member),
    /// A lane's sweep is over. Say so by [`Lanes::confirm`] when all it visited are flushed.
    Finished(Swept),
    /// Nothing has moved.
    Idle,
}

/// A sweep that has visited everybody.
#[derive(Clone, Debug)]
pub struct Swept {
    key: u32,
    tap: Arc<Tap>,
    target: Head,
    began_ns: u64,
    /// When the oldest frame it brought was published, on the engine's clock.
    pub published_ns: u64,
}

/// A member of a lane whose segments retention has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The lane.
    pub lane: u32,
    /// Whose cursor is to be looked at.
    pub member: Member,
    /// What ends before this lane position is let go once nobody stands there.
    pub before_pos: u64,
}

/// The looks at the members of one lane.
#[derive(Clone, Copy, Debug)]
struct Looking {
    lane: u32,
    before_pos: u64,
    /// Members below this index are still to be looked at. Downwards, because a member that leaves
    /// is replaced by the last one, which then has been looked at already.
    left: usize,
    is_needed: bool,
}

/// All lanes of one core.
#[derive(Debug)]
pub struct Lanes {
    lanes: Slab<CoreLane>,
    /// By the number of the feed: its epoch may be that of others.
    keys: FxHashMap<(u64, LaneKind), u32>,
    doorbell: Arc<Doorbell>,
    /// Lanes that had members ahead of this node when somebody last looked.
    ahead: BTreeSet<u32>,
    sweeping: VecDeque<u32>,
    /// Lanes that rest, by the end of it, on the engine's clock.
    resting: BTreeSet<(u64, u32)>,
    looking: VecDeque<Looking>,
    /// Looks that found segments needed, to be begun again next turn.
    look_again: Vec<u32>,
    quantum: usize,
}

#[derive(Debug)]
struct CoreLane {
    feed: Arc<Feed>,
    reader: LaneReader,
    tap: Arc<Tap>,
    members: Vec<Member>,
    /// What members have that this node had not when they joined, by their connection.
    ahead: FxHashMap<u32, Ahead>,
    sweep: Option<Sweep>,
    /// A sweep has visited everybody, and not all are flushed yet.
    is_flushing: bool,
    /// The lane moved, or a member that was not visited yet changed places, since the last sweep
    /// began: when the oldest frame that this is about was published.
    again: Option<u64>,
    /// Until when the lane rests, if it does.
    rests_until_ns: Option<u64>,
    /// From when on it is swept as soon as it moves.
    rested_at_ns: u64,
    /// Publishers wait for the lane to be swept.
    is_hurried: bool,
    first: usize,
    /// How far the last sweep went that all visited have been flushed for.
    swept_pos: u64,
    is_looked_at: bool,
}

/// Up to where somebody has everything though this node has not, and since when that is waited for.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    position: Position,
    since_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sweep {
    next: usize,
    left: usize,
    target: Head,
    began_ns: u64,
    published_ns: u64,
}

impl Lanes {
    /// No lanes yet; feeds will ring `doorbell`.
    pub fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            lanes: Slab::new(),
            keys: FxHashMap::default(),
            doorbell,
            ahead: BTreeSet::new(),
            sweeping: VecDeque::new(),
            resting: BTreeSet::new(),
            looking: VecDeque::new(),
            look_again: Vec::new(),
            quantum: QUANTUM,
        }
    }

    /// The core's key of `feed`'s lane `kind`, if it is open. Let it take in what has
    /// [moved](Self::moved) before placing a cursor; that may end its last member and so close it.
    pub fn find(&self, feed: &Feed, kind: LaneKind) -> Option<u32> {
        self.keys.get(&(feed.number(), kind)).copied()
    }

    /// The core's key of `feed`'s lane `kind`, opened if need be; none when the feed was retired.
    pub fn open(&mut self, feed: &Arc<Feed>, kind: LaneKind) -> Option<u32> {
        if let Some(key) = self.find(feed, kind) {
            return Some(key);
        }
        let entry = self.lanes.vacant_entry();
        let key = entry.key() as u32;
        let opened = feed.open(kind, &self.doorbell, key)?;
        entry.insert(CoreLane {
            swept_pos: opened.reader.head().pos,
            is_looked_at: false,
            feed: Arc::clone(feed),
            reader: opened.reader,
            tap: opened.tap,
            members: Vec::new(),
            ahead: FxHashMap::default(),
            sweep: None,
            is_flushing: false,
            again: None,
            rests_until_ns: None,
            rested_at_ns: 0,
            is_hurried: false,
            first: 0,
        });
        self.keys.insert((feed.number(), kind), key);
        Some(key)
    }

    /// Has a lane reach back to what a subscriber that asks for `from` gets. Answers how many
    /// encodings that took, and of them how many deflating.
    ///
    /// A look under way lets go only of what retention has passed, and nothing is put before that.
    pub fn reach_back(&mut self, key: u32, from: &From) -> (u32, u32) {
        let CoreLane { feed, reader, .. } = &mut self.lanes[key as usize];
        feed.reach_back(reader, from)
    }

    /// Counts a subscription in and answers its member index.
    pub fn join(&mut self, key: u32, member: Member) -> u32 {
        let lane = &mut self.lanes[key as usize];
        lane.feed.joined();
        lane.members.push(member);
        lane.changed();
        lane.members.len() as u32 - 1
    }

    /// Counts the member at `index` out. Answers the member that took its index, if any, whose
    /// subscription must be told. The last one out closes the lane.
    pub fn leave(&mut self, key: u32, index: u32, now_ns: u64) -> Option<Member> {
        let lane = &mut self.lanes[key as usize];
        lane.feed.left(now_ns);
        let gone = lane.members.swap_remove(index as usize);
        lane.ahead.remove(&gone.conn);
        let moved = lane.members.get(index as usize).copied();
        lane.changed();
        if lane.members.is_empty() {
            self.close(key, now_ns);
        }
        moved
    }

    /// Notes that a member's subscription has another index from now on.
    pub fn renumber(&mut self, key: u32, index: u32, subscription: u32) {
        self.lanes[key as usize].members[index as usize].subscription = subscription;
    }

    /// Closes a lane that was opened for somebody who did not join it after all.
    pub fn close_if_unused(&mut self, key: u32, now_ns: u64) {
        if self.lanes.get(key as usize).is_some_and(|lane| lane.members.is_empty()) {
            self.close(key, now_ns);
        }
    }

    fn close(&mut self, key: u32, now_ns: u64) {
        let lane = self.lanes.remove(key as usize);
        lane.feed.shut(lane.reader.kind(), &lane.tap, now_ns);
        self.keys.remove(&(lane.feed.number(), lane.reader.kind()));
        self.ahead.remove(&key);
        if lane.sweep.is_some() {
            self.sweeping.retain(|&sweeping| sweeping != key);
        }
        if let Some(until_ns) = lane.rests_until_ns {
            self.resting.remove(&(until_ns, key));
        }
        if lane.is_looked_at {
            self.looking.retain(|looking| looking.lane != key);
            self.look_again.retain(|&again| again != key);
        }
    }

    /// The feed behind a lane.
    pub fn feed(&self, key: u32) -> &Arc<Feed> {
        &self.lanes[key as usize].feed
    }

    /// The core's view of a lane.
    pub fn reader(&self, key: u32) -> &LaneReader {
        &self.lanes[key as usize].reader
    }

    /// Members of a lane.
    pub fn members(&self, key: u32) -> &[Member] {
        &self.lanes[key as usize].members
    }

    /// Lanes open on this core.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// True when no lane is open.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// True while a sweep is under way.
    pub fn is_sweeping(&self) -> bool {
        !self.sweeping.is_empty()
    }

    /// Takes in that a lane has moved, and begins its sweep or notes that another has to follow.
    /// Keys of closed lanes are ignored.
    pub fn moved(&mut self, key: u32, now_ns: u64) {
        let Some(lane) = self.lanes.get_mut(key as usize) else { return };
        lane.take_in();
        if lane.sweep.is_some() || lane.is_flushing {
            return;
        }
        if lane.again.is_some() {
            return self.sweep_or_rest(key, now_ns);
        }
        // Retention alone has moved.
        self.release_passed(key);
    }

    /// Begins the sweep of a lane that has moved, unless it has to rest.
    fn sweep_or_rest(&mut self, key: u32, now_ns: u64) {
        let lane = &mut self.lanes[key as usize];
        if now_ns < lane.rested_at_ns && !lane.is_hurried {
            lane.tap.hold();
            lane.rests_until_ns = Some(lane.rested_at_ns);
            self.resting.insert((lane.rested_at_ns, key));
            return;
        }
        if let Some(until_ns) = lane.rests_until_ns.take() {
            self.resting.remove(&(until_ns, key));
        }
        lane.begin_sweep(now_ns);
        self.sweeping.push_back(key);
    }

    /// A lane whose rest is over by `now_ns`; let it be [moved](Self::moved) then.
    pub fn rested(&mut self, now_ns: u64) -> Option<u32> {
        let &(until_ns, key) = self.resting.first().filter(|(until_ns, _)| *until_ns <= now_ns)?;
        self.resting.remove(&(until_ns, key));
        let lane = &mut self.lanes[key as usize];
        lane.rests_until_ns = None;
        lane.rested_at_ns = 0;
        Some(key)
    }

    /// When the next lane has rested, on the engine's clock.
    pub fn rest_ends_ns(&self) -> Option<u64> {
        self.resting.first().map(|(until_ns, _)| *until_ns)
    }

    /// True when a sweep of a lane is under way or has to follow.
    pub fn is_due(&self, key: u32) -> bool {
        let lane = &self.lanes[key as usize];
        lane.sweep.is_some() || lane.again.is_some() || lane.rests_until_ns.is_some()
    }

    /// Has the member of a connection, which just joined, get only what comes behind `position`:
    /// it has that already, though this node has not.
    pub fn begin_behind(&mut self, key: u32, conn: u32, position: Position, now_ns: u64) {
        let ahead = Ahead { position, since_ns: now_ns };
        self.lanes[key as usize].ahead.insert(conn, ahead);
        self.ahead.insert(key);
    }

    /// Waits no longer for members, `max` of each lane at most, that have been ahead since
    /// `since_ns` or longer. Answers those, with their lane, whose position the log does not have.
    pub fn overdue(&mut self, since_ns: u64, max: usize) -> Vec<(u32, Member)> {
        let (lanes, mut overdue) = (&mut self.lanes, Vec::new());
        self.ahead.retain(|&key| {
            let Some(lane) = lanes.get_mut(key as usize) else { return false };
            let left = lane.overdue(since_ns, max);
            overdue.extend(left.into_iter().map(|member| (key, member)));
            !lane.ahead.is_empty()
        });
        overdue
    }

    /// Where members that were ahead of this node stand now that a lane has moved. To be called
    /// before anybody is flushed.
    pub fn pass_known(&mut self, key: u32) -> Vec<(Member, Cursor)> {
        let Some(lane) = self.lanes.get_mut(key as usize) else { return Vec::new() };
        if lane.ahead.is_empty() { Vec::new() } else { lane.pass_known() }
    }

    /// Takes in that all a sweep visited are flushed: each of them has everything, waits for
    /// budget, or is blocked. If the lane has moved meanwhile, it rests for `rest_ns_max` at most.
    pub fn confirm(&mut self, swept: &Swept, now_ns: u64, rest_ns_max: u64) {
        let Some(lane) = self.lanes.get_mut(swept.key as usize) else { return };
        // The key may be another lane's by now.
        if !Arc::ptr_eq(&lane.tap, &swept.tap) {
            return;
        }
        lane.swept_pos = swept.target.pos;
        lane.is_flushing = false;
        let cost_ns = now_ns.saturating_sub(swept.began_ns);
        let rest_ns = if cost_ns > CHEAP_SWEEP_NS { cost_ns.min(rest_ns_max) } else { 0 };
        lane.rested_at_ns = now_ns + rest_ns;
        if lane.again.is_some() {
            self.sweep_or_rest(swept.key, now_ns);
        }
        self.release_passed(swept.key);
    }

    /// Lets go of what retention has passed, once all members have been looked at, and tells
    /// publishers how far this core is.
    fn release_passed(&mut self, key: u32) {
        let lane = &mut self.lanes[key as usize];
        if lane.is_looked_at {
            return;
        }
        // Whoever takes bytes has been sent those before this, or waits for budget to be.
        let before_pos = lane.reader.tail_pos().min(lane.swept_pos);
        if !lane.reader.holds_before(before_pos) {
            return lane.tap.set_swept(lane.swept_pos);
        }
        lane.is_looked_at = true;
        let left = lane.members.len();
        self.looking.push_back(Looking { lane: key, before_pos, left, is_needed: false });
    }

    /// Begins again with the looks that found segments needed; once a turn.
    pub fn look_again(&mut self) {
        for key in std::mem::take(&mut self.look_again) {
            self.lanes[key as usize].is_looked_at = false;
            self.release_passed(key);
        }
    }

    /// The next member to look at. If it stands before [`Look::before_pos`] and is blocked, it must
    /// [lapse](crate::delivery::flush::Delivery::lapse_at); otherwise its lane must be
    /// [kept](Self::keep).
    pub fn look(&mut self) -> Option<Look> {
        loop {
            let looking = self.looking.front_mut()?;
            let lane = &mut self.lanes[looking.lane as usize];
            looking.left = looking.left.min(lane.members.len());
            if let Some(left) = looking.left.checked_sub(1) {
                looking.left = left;
                let Looking { lane: key, before_pos, .. } = *looking;
                return Some(Look { lane: key, member: lane.members[left], before_pos });
            }
            let looked = *looking;
            self.looking.pop_front();
            self.end_look(looked);
        }
    }

    fn end_look(&mut self, looked: Looking) {
        if looked.is_needed {
            return self.look_again.push(looked.lane);
        }
        let lane = &mut self.lanes[looked.lane as usize];
        lane.is_looked_at = false;
        lane.reader.drop_before(looked.before_pos);
        lane.tap.set_swept(lane.swept_pos);
    }

    /// Notes that the member of the last [look](Self::look) at this lane needs what is held.
    pub fn keep(&mut self, lane: u32) {
        let last = self.looking.front_mut().filter(|looking| looking.lane == lane);
        if let Some(looking) = last {
            looking.is_needed = true;
        }
    }

    /// True while segments that retention has passed are held.
    pub fn is_looking(&self) -> bool {
        !(self.looking.is_empty() && self.look_again.is_empty())
    }

    /// The next step of the sweeps under way.
    pub fn step(&mut self) -> Step {
        let Some(&key) = self.sweeping.front() else { return Step::Idle };
        if self.quantum == 0 {
            self.quantum = QUANTUM;
            self.sweeping.rotate_left(1);
            return self.step();
        }
        self.quantum -= 1;
        let lane = &mut self.lanes[key as usize];
        if let Some(member) = lane.next_visit() {
            return Step::Visit(member);
        }
        let swept = lane.end_sweep(key);
        self.sweeping.pop_front();
        self.quantum = QUANTUM;
        swept.map_or(Step::Idle, Step::Finished)
    }
}

impl CoreLane {
    fn pass_known(&mut self) -> Vec<(Member, Cursor)> {
        let Self { feed, reader, members, ahead, .. } = self;
        let mut moved = Vec::new();
        for &member in members.iter() {
            let Some(&Ahead { position, .. }) = ahead.get(&member.conn) else { continue };
            let first = feed.first_after(position.epoch, position.seq);
            if first.is_some_and(|first| first <= reader.head().ordinal) {
                ahead.remove(&member.conn);
            }
            match first {
                // Another epoch began: what comes is new in any case.
                Some(0) => {}
                Some(first) => moved.push((member, reader.at_ordinal(first))),
                None => moved.push((member, reader.latest())),
            }
        }
        moved
    }

    fn overdue(&mut self, since_ns: u64, max: usize) -> Vec<Member> {
        let is_over = |ahead: &Ahead| ahead.since_ns <= since_ns;
        if !self.ahead.values().any(is_over) {
            return Vec::new();
        }
        let Self { feed, members, ahead, .. } = self;
        let over = members.iter().filter(|m| ahead.get(&m.conn).is_some_and(is_over)).take(max);
        let over: Vec<Member> = over.copied().collect();
        let is_behind = |ahead: Ahead| feed.is_behind(ahead.position);
        over.into_iter().filter(|m| ahead.remove(&m.conn).is_some_and(is_behind)).collect()
    }

    /// Looks how far the lane has come.
    fn take_in(&mut self) {
        self.is_hurried |= self.tap.take_hurry();
        let published_ns = self.tap.clear();
        let before = self.reader.head();
        self.reader.refresh();
        if self.reader.head() != before {
            self.again = self.again.or(Some(published_ns));
        }
    }

    fn begin_sweep(&mut self, now_ns: u64) {
        self.is_hurried = false;
        let published_ns = self.again.take().unwrap_or(now_ns);
        let len = self.members.len().max(1);
        self.first = (self.first + len.div_ceil(ROTATION)) % len;
        let target = self.reader.head();
        let began_ns = now_ns;
        self.sweep = Some(Sweep { next: self.first, left: len, target, began_ns, published_ns });
    }

    /// Members have changed places: one that was not visited yet may now stand where the sweep has
    /// been, so it goes round once more.
    fn changed(&mut self) {
        if let Some(sweep) = &self.sweep {
            self.again = self.again.or(Some(sweep.published_ns));
        }
    }

    fn next_visit(&mut self) -> Option<Member> {
        let sweep = self.sweep.as_mut()?;
        if sweep.left == 0 || self.members.is_empty() {
            return None;
        }
        let index = sweep.next % self.members.len();
        sweep.next = index + 1;
        sweep.left -= 1;
        Some(self.members[index])
    }

    fn end_sweep(&mut self, key: u32) -> Option<Swept> {
        let Sweep { target, began_ns, published_ns, .. } = self.sweep.take()?;
        self.is_flushing = true;
        Some(Swept { key, tap: Arc::clone(&self.tap), target, began_ns, published_ns })
    }
}
