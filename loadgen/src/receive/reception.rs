//! The processing of a message: checked, matched with its publisher's tick, counted and timed. Each
//! subscriber thread has one `Reception`; those of all threads are added up at the end of the run.
//! Must not know sockets and reads no clock.

use std::mem;
use std::sync::Arc;

use crate::codec::claim::Reject;
use crate::codec::memo::Memo;
use crate::codec::wire::{Gap, GapReason};
use crate::plan::follows::Follows;
use crate::plan::part::Part;
use crate::plan::plan::Plan;
use crate::receive::completeness::{TickGroups, TickTracker};
use crate::receive::expected::{End, Expected, count_missing, hold_ns_max};
use crate::receive::histograms::SecondHistogram;
use crate::receive::outcome::class;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::lap::LapOutcome;
use crate::receive::sessions::{Sessions, Waited};
use crate::receive::spread::SpreadSamples;
use crate::receive::stamp::{PublisherIndex, Stamp};
use crate::receive::tail::Tails;
use crate::receive::verify::{Tracker, Verdict};
use crate::receive::windows::WindowPart;
use crate::scenario::groups::ClassKind;

/// Everything the sockets of one thread received.
#[derive(Debug)]
pub struct Reception {
    memo: Memo<Stamp>,
    publishers: usize,
    followed: Arc<[u32]>,
    /// Whether other hosts publish too; the send instants of their frames are not known here.
    is_shared: bool,
    classes: Vec<ClassOutcome>,
    accounts: Vec<Account>,
    trackers: Vec<Tracker>,
    ticks: TickTracker,
    sessions: Sessions,
    /// Class and instant of the sockets that joined during the run.
    joined: Vec<(u16, u64)>,
    /// The lap of the newest measured frame.
    lap: Option<u16>,
    spread: SpreadSamples,
    second: Box<SecondHistogram>,
    second_received: u64,
    second_missing: u64,
    second_gaps: u64,
    received: u64,
    missing: u64,
}

/// The account of one socket: which frames it must receive, and how it ended.
#[derive(Debug, Clone, Copy)]
struct Account {
    class: u16,
    follows: Follows,
    tracker: u32,
    end: End,
}

/// The origin of a message: which account, and when.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'r> {
    /// The socket's account.
    pub account: u32,
    /// Who publishes; `None` before the start.
    pub publisher_index: Option<&'r PublisherIndex>,
    /// When it was read.
    pub now_ns: u64,
}

impl Reception {
    /// The reception of a thread without sockets.
    pub fn new(plan: &Plan) -> Reception {
        Reception {
            memo: Memo::new(plan.messages_remembered()),
            publishers: plan.publishers.len(),
            followed: Arc::clone(&plan.followed),
            is_shared: !plan.part.is_whole(),
            classes: classes(plan),
            accounts: Vec::new(),
            trackers: Vec::new(),
            ticks: TickTracker::new(plan),
            sessions: Sessions::default(),
            joined: Vec::new(),
            lap: None,
            spread: SpreadSamples::default(),
            second: Box::new(SecondHistogram::new()),
            second_received: 0,
            second_missing: 0,
            second_gaps: 0,
            received: 0,
            missing: 0,
        }
    }

    /// Makes room for the accounts of these subscribers.
    pub fn reserve(&mut self, subscribers: &[u32], plan: &Plan) {
        let planned = subscribers.iter().filter_map(|s| plan.subscribers.get(*s as usize));
        let trackers = planned.map(|s| s.follows.count(plan.publishers.len())).sum();
        self.accounts.reserve_exact(subscribers.len());
        self.trackers.reserve_exact(trackers);
    }

    /// Opens the account of a connected socket.
    pub fn open(&mut self, class: u16, follows: Follows, publishers: usize) -> u32 {
        let trackers = follows.count(publishers);
        let account =
            Account { class, follows, tracker: self.trackers.len() as u32, end: End::Open };
        self.trackers.resize(self.trackers.len() + trackers, Tracker::new());
        self.accounts.push(account);
        if let Some(class) = self.classes.get_mut(usize::from(class)) {
            class.sockets += 1;
        }
        let account = self.accounts.len() as u32 - 1;
        if trackers > 1 {
            self.ticks.open(account, follows.publishers(&self.followed, publishers));
            if let Some(class) = self.classes.get_mut(usize::from(class)) {
                class.ticks.get_or_insert_default();
            }
        }
        account
    }

    /// The class of an account.
    #[inline]
    pub fn class_of(&self, account: u32) -> u16 {
        self.accounts[account as usize].class
    }

    /// Opens the account of a socket that joins during the run; its first attempt was at
    /// `tries_since_ns`.
    pub fn join(&mut self, class: u16, follows: Follows, tries_since_ns: u64, now_ns: u64) -> u32 {
        let account = self.open(class, follows, self.publishers);
        self.trackers_of(account).fill(Tracker::joining());
        self.joined.push((class, now_ns));
        self.rejoin(account, tries_since_ns, now_ns);
        account
    }

    /// A socket disconnected on purpose: what it received is counted, and nothing is expected until
    /// it has reconnected.
    pub fn disconnect(&mut self, account: u32, reason: &str) {
        let Account { class, follows, tracker: from, .. } = self.accounts[account as usize];
        let class = &mut self.classes[usize::from(class)];
        class.returns.left += 1;
        *class.closes.entry(reason.to_owned()).or_default() += 1;
        let count = follows.count(self.publishers) as u32;
        for index in from..from + count {
            let tracker = &mut self.trackers[index as usize];
            let expected = Expected { missed: self.sessions.missed(index), ..Expected::default() };
            // Nothing is expected after the newest frame, so there is no tail.
            let _ = count_missing(class, End::Killed, tracker, expected);
            *tracker = Tracker::joining();
            self.sessions.forget(index);
        }
        self.sessions.end(account);
    }

    /// A socket has reconnected; it has been without frames since an instant.
    pub fn rejoin(&mut self, account: u32, away_since_ns: u64, now_ns: u64) {
        self.class(account).returns.came += 1;
        let topics = self.trackers_of(account).len() as u32;
        self.sessions.begin(account, away_since_ns, now_ns, topics);
    }

    /// A socket was cut off against its will, and will go on where it was: all that it should have
    /// received is still expected.
    pub fn interrupted(&mut self, account: u32, reason: &str) {
        let class = self.class(account);
        class.returns.interrupted += 1;
        *class.returns.errors.entry(reason.to_owned()).or_default() += 1;
    }

    /// A socket that was interrupted is connected again.
    pub fn resumed(&mut self, account: u32) {
        self.class(account).returns.resumed += 1;
    }

    /// Counts a failed attempt to connect.
    pub fn connect_failed(&mut self, class: u16, reason: &str) {
        if let Some(class) = self.classes.get_mut(usize::from(class)) {
            *class.returns.errors.entry(reason.to_owned()).or_default() += 1;
        }
    }

    /// Counts a socket that attempted to connect and was still absent at the end of the run.
    pub fn shut_out(&mut self, class: u16) {
        if let Some(class) = self.classes.get_mut(usize::from(class)) {
            class.returns.shut_out += 1;
        }
    }

    /// Counts a socket whose messages may be compressed.
    pub fn deflated(&mut self, account: u32) {
        self.class(account).deflated_sockets += 1;
    }

    /// Closes an account, naming the reason.
    pub fn close(&mut self, account: u32, end: End, reason: String) {
        let account = &mut self.accounts[account as usize];
        account.end = end;
        if let Some(class) = self.classes.get_mut(usize::from(account.class)) {
            *class.closes.entry(reason).or_default() += 1;
        }
    }

    /// Counts a read call and the bytes it took from the socket.
    pub fn read(&mut self, account: u32, bytes: usize) {
        let class = self.class(account);
        class.reads += 1;
        class.bytes += bytes as u64;
    }

    /// Counts a gap that the server reported.
    pub fn gap(&mut self, account: u32, gap: Gap) {
        let is_loss = gap.reason == GapReason::Lost;
        self.second_gaps += u64::from(is_loss);
        let lap = self.lap.filter(|_| is_loss);
        let class = self.class(account);
        if let Some(lap) = lap.and_then(|lap| class.laps.get_mut(usize::from(lap))) {
            lap.gaps += 1;
        }
        let (notices, frames) = match gap.reason {
            GapReason::Conflated => (&mut class.conflations, &mut class.conflated_frames),
            GapReason::Lost => (&mut class.gap_notices, &mut class.gap_frames),
        };
        *notices += 1;
        *frames = frames.saturating_add(gap.frames.unwrap_or(0));
    }

    /// Counts an envelope whose sequence number is not above that of the frame before it.
    pub fn misnumbered(&mut self, account: u32) {
        self.class(account).misnumbered += 1;
    }

    /// Handles a message that is a bare payload.
    #[inline]
    pub fn message(&mut self, arrival: Arrival<'_>, message: &[u8]) -> bool {
        self.message_if(arrival, message, |_| true)
    }

    /// Takes a message that came on a channel, which fits some publishers.
    #[inline]
    pub fn message_if(
        &mut self,
        arrival: Arrival<'_>,
        message: &[u8],
        fits: impl FnOnce(u32) -> bool,
    ) -> bool {
        match self.memo.stamp(message, arrival.publisher_index) {
            Ok(stamp) if fits(stamp.publisher) => self.frame(arrival, stamp, message.len()),
            Ok(_) => {
                self.reject(arrival, Reject::Foreign);
                false
            }
            Err(reject) => {
                self.reject(arrival, reject);
                false
            }
        }
    }

    /// Finds the publisher of a payload.
    #[inline]
    pub fn stamp(
        &mut self,
        payload: &[u8],
        publisher_index: Option<&PublisherIndex>,
    ) -> Result<Stamp, Reject> {
        self.memo.stamp(payload, publisher_index)
    }

    /// Counts a message that is no frame of this run.
    pub fn reject(&mut self, arrival: Arrival<'_>, reject: Reject) {
        let class = self.class(arrival.account);
        match reject {
            Reject::Corrupt => class.corrupt += 1,
            // Nothing before the start belongs to this run: a server may send retained messages.
            Reject::Foreign if arrival.publisher_index.is_none() => {}
            Reject::Foreign => class.misdelivered += 1,
        }
    }

    /// Counts a frame; returns whether it is newer than all before it.
    #[inline]
    pub fn frame(&mut self, arrival: Arrival<'_>, mut stamp: Stamp, payload_bytes: usize) -> bool {
        let Arrival { account, now_ns, .. } = arrival;
        let Account { class, follows, tracker, .. } = self.accounts[account as usize];
        let class = &mut self.classes[usize::from(class)];
        let Some(place) = follows.place_of(stamp.publisher, &self.followed) else {
            class.misdelivered += 1;
            return false;
        };
        let index = tracker + place;
        let tracker = &mut self.trackers[index as usize];
        let mut verdict = tracker.accept(stamp.seq);
        if stamp.is_repeated {
            let Some(told_apart) = of_two(tracker, verdict, &mut stamp) else { return false };
            verdict = told_apart;
        }
        match verdict {
            Verdict::Joined => {
                let Waited { first, all } = self.sessions.first_frame(account, index, stamp.seq);
                first.inspect(|from| class.returns.note_first_frame(since(now_ns, *from)));
                all.inspect(|from| class.returns.note_all_topics(since(now_ns, *from)));
            }
            Verdict::Duplicate => {
                class.duplicated += 1;
                return false;
            }
            Verdict::InOrder { .. } if class.pace.is_thinned() => {}
            Verdict::InOrder { skipped } => {
                self.missing += u64::from(skipped);
                self.second_missing += u64::from(skipped);
            }
            Verdict::Reordered => {
                class.reordered += 1;
                self.missing -= u64::from(!class.pace.is_thinned());
            }
        }
        class.payload_bytes += payload_bytes as u64;
        class.received += 1;
        self.received += 1;
        self.second_received += 1;
        let e2e_ns = since(now_ns, stamp.intended_ns);
        self.second.record(e2e_ns);
        if stamp.measured {
            self.measured(arrival, stamp, verdict, e2e_ns);
        }
        verdict != Verdict::Reordered
    }

    /// Records the latencies of a frame of the measured phase.
    #[inline]
    fn measured(&mut self, arrival: Arrival<'_>, stamp: Stamp, verdict: Verdict, e2e_ns: i64) {
        let Arrival { account, now_ns, .. } = arrival;
        let class = &mut self.classes[usize::from(self.accounts[account as usize].class)];
        class.e2e.record(e2e_ns);
        self.lap = Some(stamp.lap);
        note_lap(class, stamp, verdict, e2e_ns);
        let service_ns = stamp.sent_ns.map(|sent_ns| since(now_ns, sent_ns));
        service_ns.inspect(|ns| class.service.record(*ns));
        // A feed with a rate limit delays frames on purpose.
        let is_prompt = class.kind == ClassKind::Healthy && !class.pace.is_thinned();
        if let (true, Some(ticks)) = (is_prompt && class.lifecycle.is_steady(), &mut class.ticks)
            && self.ticks.arrived(account, stamp.publisher, stamp.seq)
        {
            ticks.whole += 1;
            ticks.latency.record(e2e_ns);
        }
        let spread_ns = if self.is_shared { Some(e2e_ns) } else { service_ns };
        if let (true, true, Some(ns)) = (stamp.sampled, is_prompt, spread_ns) {
            self.spread.record(stamp.publisher, stamp.seq, ns);
        }
    }

    /// Distinct frames received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames skipped in the sequence so far and not received since.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Whether every socket still open, stalled ones aside, has all that was published.
    pub fn is_complete(&self, publisher_index: &PublisherIndex) -> bool {
        self.accounts.iter().filter(|account| account.end == End::Open).all(|account| {
            let ClassOutcome { kind, pace, .. } = &self.classes[usize::from(account.class)];
            let is_complete = |(publisher, tracker): (u32, &Tracker)| {
                let end = publisher_index.log(publisher).written();
                tracker.tail(end) == 0 && (pace.is_thinned() || tracker.holes() == 0)
            };
            *kind == ClassKind::Stalled
                || followed(&self.trackers, account, &self.followed, publisher_index.publishers())
                    .all(is_complete)
        })
    }

    /// Returns what was received since the last call, as the window of a second.
    pub fn take_second(&mut self, t_s: u32) -> WindowPart {
        WindowPart {
            t_s,
            sent: 0,
            received: mem::take(&mut self.second_received),
            e2e: Some(mem::take(&mut self.second)),
            missing: mem::take(&mut self.second_missing),
            gaps: mem::take(&mut self.second_gaps),
        }
    }

    /// Whether anything was received since the last second was taken.
    pub fn has_second(&self) -> bool {
        self.second_received > 0 || self.second_gaps > 0
    }

    fn trackers_of(&mut self, account: u32) -> &mut [Tracker] {
        let Account { follows, tracker, .. } = self.accounts[account as usize];
        let (from, count) = (tracker as usize, follows.count(self.publishers));
        &mut self.trackers[from..from + count]
    }

    fn class(&mut self, account: u32) -> &mut ClassOutcome {
        let class = self.class_of(account);
        &mut self.classes[usize::from(class)]
    }
}

/// Adds up all threads: what every socket should have received, and what it did receive. `ends` has
/// the number of frames of each publisher, see [`ends`]; `ended_ns` is when reading stopped.
pub fn settle(
    receptions: Vec<Reception>,
    publisher_index: &PublisherIndex,
    ends: &[u32],
    plan: &Plan,
    ended_ns: u64,
) -> (Vec<ClassOutcome>, SpreadSamples) {
    let groups = TickGroups::of(plan);
    let mut classes = classes(plan);
    let (mut spread, mut tails) = (SpreadSamples::default(), Tails::default());
    for mut reception in receptions {
        let sessions = &reception.sessions;
        for (number, account) in (0..).zip(&reception.accounts) {
            let class = &mut reception.classes[usize::from(account.class)];
            let trackers = &reception.trackers;
            let followed = followed(trackers, account, &plan.followed, ends.len());
            for (index, (publisher, tracker)) in (account.tracker..).zip(followed) {
                let published = ends[publisher as usize];
                let missed = sessions.missed(index);
                let last_ns = published
                    .checked_sub(1)
                    .map(|last| publisher_index.intended_ns(publisher, last));
                let is_overdue = last_ns.is_some_and(|ns| ns + hold_ns_max(class.pace) <= ended_ns);
                let expected = Expected { published, missed, is_overdue };
                if let Some(from) = count_missing(class, account.end, tracker, expected) {
                    tails.note(account.class, publisher, from);
                    class.unserved += u64::from(tracker.head() == 0 && account.end == End::Open);
                }
                if tracker.is_joining() {
                    let is_due = |due_ns| sessions.should_have(number, due_ns);
                    class.returns.unserved += u64::from(last_ns.is_some_and(is_due));
                } else if let (End::Open, Some(rate)) = (account.end, class.asked_rate()) {
                    let fps = plan.publishers[publisher as usize].rate.per_second();
                    let published = published.saturating_sub(missed);
                    class.rates.note(tracker.received() - missed, published, fps, rate);
                }
            }
            let is_prompt = class.kind == ClassKind::Healthy && !class.pace.is_thinned();
            if let (true, Some(ticks)) =
                (is_prompt && class.lifecycle.is_steady(), &mut class.ticks)
            {
                let due = due(trackers, account, ends, publisher_index, plan);
                ticks.expected += groups.whole_ticks(due);
            }
        }
        class::count_sockets(&mut reception.classes, &reception.joined, publisher_index.laps());
        classes.iter_mut().zip(&reception.classes).for_each(|(into, class)| into.merge(class));
        spread.merge(reception.spread);
    }
    tails.settle(ends, publisher_index, ended_ns, &mut classes);
    (classes, spread)
}

/// The classes of a plan, before anything was received.
fn classes(plan: &Plan) -> Vec<ClassOutcome> {
    // Each is created and not cloned: a clone would touch all of a histogram's memory.
    let laps = || (0..plan.course.reported_laps()).map(|_| LapOutcome::default()).collect();
    let class = |of| ClassOutcome { laps: laps(), ..ClassOutcome::of(of) };
    plan.classes.iter().map(class).collect()
}

/// The stamp of a received frame that was sent twice on purpose; the second copy has its own
/// number. `None` if the copies cannot be told apart.
#[cold]
fn of_two(tracker: &mut Tracker, verdict: Verdict, stamp: &mut Stamp) -> Option<Verdict> {
    match verdict {
        Verdict::Duplicate => {
            *stamp = Stamp { seq: stamp.seq + 1, is_repeated: false, ..*stamp };
            Some(tracker.accept(stamp.seq))
        }
        // It begins with the next.
        Verdict::Joined => {
            *tracker = Tracker::joining();
            None
        }
        verdict => Some(verdict),
    }
}

/// Adds a measured frame to its lap, if there are several laps.
fn note_lap(class: &mut ClassOutcome, stamp: Stamp, verdict: Verdict, e2e_ns: i64) {
    let Some(lap) = class.laps.get_mut(usize::from(stamp.lap)) else { return };
    lap.e2e.record(e2e_ns);
    match verdict {
        _ if class.pace.is_thinned() => {}
        Verdict::InOrder { skipped } => lap.missing += u64::from(skipped),
        Verdict::Reordered => lap.missing = lap.missing.saturating_sub(1),
        Verdict::Duplicate | Verdict::Joined => {}
    }
}

/// The publishers an account follows, with the measured frames of each that it had to receive.
fn due<'s>(
    trackers: &'s [Tracker],
    account: &'s Account,
    ends: &'s [u32],
    publisher_index: &'s PublisherIndex,
    plan: &'s Plan,
) -> impl Iterator<Item = (u32, u32)> + 's {
    followed(trackers, account, &plan.followed, ends.len()).map(|(publisher, tracker)| {
        let end = match account.end {
            End::Killed => tracker.head(),
            End::Open | End::Closed => ends[publisher as usize],
        };
        let measured_from = publisher_index.departures(publisher).measured_from();
        (publisher, end.saturating_sub(measured_from))
    })
}

/// The number of frames of each publisher, as far as this process knows: those its own publishers
/// wrote, and the newest of others that anybody received. `cut` marks own publishers whose socket
/// ended early: it is unknown which of their last frames the server still read, so these count up
/// to the newest received, too.
pub fn ends(
    receptions: &[Reception],
    publisher_index: &PublisherIndex,
    cut: &[bool],
    part: Part,
) -> Vec<u32> {
    let is_known =
        |publisher: u32| part.has(publisher) && cut.get(publisher as usize) != Some(&true);
    let written =
        |publisher| if is_known(publisher) { publisher_index.log(publisher).written() } else { 0 };
    let mut ends: Vec<u32> = (0..publisher_index.publishers() as u32).map(written).collect();
    for reception in receptions {
        for account in &reception.accounts {
            let Reception { trackers, followed: many, .. } = reception;
            for (publisher, tracker) in
                followed(trackers, account, many, publisher_index.publishers())
            {
                let end = &mut ends[publisher as usize];
                *end = (*end).max(tracker.head());
            }
        }
    }
    ends
}

/// The trackers of an account with the publishers they follow.
fn followed<'t>(
    trackers: &'t [Tracker],
    account: &Account,
    followed: &'t [u32],
    publishers: usize,
) -> impl Iterator<Item = (u32, &'t Tracker)> + use<'t> {
    let (from, count) = (account.tracker as usize, account.follows.count(publishers));
    account.follows.publishers(followed, publishers).zip(&trackers[from..from + count])
}

fn since(now_ns: u64, then_ns: u64) -> i64 {
    now_ns.wrapping_sub(then_ns).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::form::Pace;
    use crate::fixtures;
    use crate::plan::class::ClassPlan;
    use crate::plan::deviation::Lateness;
    use crate::plan::encoder::Encoder;
    use crate::receive::histograms::SignedHistogram;
    use crate::time::clock::UtcMap;
    use crate::time::units::SECOND_NS;
    use std::time::Duration;

    /// Ahead of the clock, so that its instants are on it.
    const START_UNIX_NS: u64 = 4_000_000_000 * SECOND_NS;

    fn plan(kind: ClassKind) -> Plan {
        let publishers = vec![fixtures::publisher(1, 50), fixtures::publisher(2, 50)];
        let classes = vec![ClassPlan { kind, ..ClassPlan::raw("all") }];
        Plan { classes, ..fixtures::plan_of(publishers) }
    }

    /// A run in which both publishers sent 100 frames, 1 ms after they were due.
    struct Run {
        plan: Plan,
        publisher_index: PublisherIndex,
        reception: Reception,
    }

    impl Run {
        fn new(kind: ClassKind) -> Run {
            Run::of(plan(kind))
        }

        /// A run in which the publishers of a plan sent all of their frames.
        fn of(plan: Plan) -> Run {
            let publisher_index = PublisherIndex::new(&plan, START_UNIX_NS, UtcMap::sample(), 1);
            for publisher in 0..plan.publishers.len() as u32 {
                let count = publisher_index.departures(publisher).count();
                for seq in 0..count {
                    let sent_ns = publisher_index.intended_ns(publisher, seq) + 1_000_000;
                    publisher_index.log(publisher).attempt(seq, sent_ns);
                }
                publisher_index.log(publisher).set_written(count);
            }
            Run { reception: Reception::new(&plan), plan, publisher_index }
        }

        /// The account receives frames of a publisher, 3 ms after they were due.
        fn receive(&mut self, account: u32, publisher: u32, seqs: impl IntoIterator<Item = u32>) {
            let schedule = *self.publisher_index.schedule(publisher);
            let of = &self.plan.publishers[publisher as usize];
            let mut encoder = Encoder::new(1, 1, of, schedule);
            for seq in seqs {
                let now_ns = self.publisher_index.intended_ns(publisher, seq) + 3_000_000;
                let arrival =
                    Arrival { account, publisher_index: Some(&self.publisher_index), now_ns };
                let frame = self.publisher_index.frame(publisher, seq);
                self.reception.message(arrival, encoder.encode_departure(frame));
            }
        }

        fn settle(self, cut: &[bool]) -> ClassOutcome {
            self.settle_after(cut, SECOND_NS)
        }

        /// Settles so long after the last frame was due.
        fn settle_after(self, cut: &[bool], drain_ns: u64) -> ClassOutcome {
            let receptions = vec![self.reception];
            let ends = ends(&receptions, &self.publisher_index, cut, self.plan.part);
            let ended_ns = self.publisher_index.intended_ns(0, 99) + drain_ns;
            let (classes, _) =
                settle(receptions, &self.publisher_index, &ends, &self.plan, ended_ns);
            classes.into_iter().next().unwrap()
        }
    }

    #[test]
    fn latencies_are_told_apart() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::One(1), 2);
        run.receive(account, 1, 0..100);
        assert!(run.reception.is_complete(&run.publisher_index));
        let class = run.settle(&[]);
        assert_eq!((class.expected, class.received, class.lost), (100, 100, 0));
        assert_eq!((class.e2e.max(), class.service.max()), (3_000_000, 2_000_000));
    }

    #[test]
    fn a_tick_counts_when_all_of_its_frames_are_there() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::All, 2);
        run.receive(account, 0, 0..100);
        run.receive(account, 1, (0..100).filter(|seq| seq % 10 != 3));
        let alone = run.reception.open(0, Follows::One(1), 2);
        run.receive(alone, 1, 0..100);
        let ticks = run.settle(&[]).ticks.unwrap();
        assert_eq!((ticks.expected, ticks.latency.max()), (100, 3_000_000));
        // The first 36 were given up: their frames of the other publisher came 64 ticks later.
        assert_eq!(ticks.whole, 64 - 6);
    }

    #[test]
    fn a_frame_of_a_publisher_not_followed_is_misdelivered() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::One(1), 2);
        run.receive(account, 0, 0..3);
        assert!(!run.reception.is_complete(&run.publisher_index));
        let class = run.settle(&[]);
        assert_eq!((class.misdelivered, class.received, class.undelivered), (3, 0, 100));
    }

    #[test]
    fn a_missing_tail_is_undelivered_closed_killed_or_unread_and_never_lost() {
        let cases = [
            (ClassKind::Healthy, None, [200, 1, 197, 0]),
            (ClassKind::Healthy, Some(End::Closed), [200, 1, 0, 197]),
            (ClassKind::Healthy, Some(End::Killed), [3, 1, 0, 0]),
            (ClassKind::Stalled, None, [3, 1, 0, 0]),
            (ClassKind::Slow { bytes_per_s: 1 }, None, [3, 1, 0, 0]),
            (ClassKind::Stalled, Some(End::Closed), [200, 1, 0, 197]),
        ];
        for (kind, end, expected) in cases {
            let mut run = Run::new(kind);
            let account = run.reception.open(0, Follows::All, 2);
            run.receive(account, 0, [0, 2]);
            end.inspect(|end| run.reception.close(account, *end, "why".into()));
            let class = run.settle(&[]);
            let tails = [class.undelivered, class.undelivered_after_close];
            let counted = [class.expected, class.lost, tails[0], tails[1]];
            assert_eq!(counted, expected, "{kind:?} {end:?}");
        }
    }

    #[test]
    fn a_feed_of_the_newest_alone_owes_the_newest() {
        let thinned = |rate, latest| {
            let mut plan = plan(ClassKind::Healthy);
            plan.classes[0].pace = Pace { rate, latest };
            Run::of(plan)
        };
        for (rate, latest) in [(None, true), (Some(4), false), (Some(4), true)] {
            // The last frame was due so long before the end that even the slowest feed has it.
            for (received, [unserved, undelivered]) in
                [(vec![], [1, 1]), (vec![3, 50], [0, 1]), (vec![3, 99], [0, 0])]
            {
                let mut run = thinned(rate, latest);
                let account = run.reception.open(0, Follows::One(0), 2);
                run.receive(account, 0, received.clone());
                let class = run.settle_after(&[], 2 * SECOND_NS);
                assert_eq!([class.unserved, class.undelivered], [unserved, undelivered]);
                assert_eq!((class.lost, class.tail()), (0, undelivered), "{received:?}");
            }
        }
        let mut run = thinned(Some(1), false);
        run.reception.open(0, Follows::One(0), 2);
        let class = run.settle_after(&[], SECOND_NS);
        assert_eq!((class.unserved, class.undelivered), (0, 0), "it may still be held back");
    }

    #[test]
    fn a_topic_that_brings_nothing_is_unserved() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::All, 2);
        run.receive(account, 0, 0..100);
        assert_eq!(run.settle(&[]).unserved, 1, "the other topic is silent");
    }

    #[test]
    fn a_socket_that_is_back_is_timed_until_all_of_its_topics_are() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::All, 2);
        run.receive(account, 0, 0..40);
        run.receive(account, 1, 0..40);
        let left_ns = run.publisher_index.intended_ns(0, 40);
        run.reception.disconnect(account, "cut");
        run.reception.rejoin(account, left_ns, left_ns);
        run.receive(account, 0, 50..100);
        run.receive(account, 1, 80..100);
        let returns = run.settle(&[]).returns;
        let max_ms = |found: &Option<Box<SignedHistogram>>| {
            found.as_ref().map(|found| (found.len(), found.max() / 1_000_000))
        };
        assert_eq!(max_ms(&returns.first_frame), Some((1, 203)));
        assert_eq!(max_ms(&returns.all_topics), Some((1, 803)));
    }

    #[test]
    fn what_did_not_come_took_at_least_as_long_as_it_had_been_under_way() {
        let mut run = Run::new(ClassKind::Healthy);
        let accounts = [0, 1].map(|_| run.reception.open(0, Follows::One(0), 2));
        run.receive(accounts[0], 0, 0..100);
        run.receive(accounts[1], 0, 0..90);
        let class = run.settle(&[]);
        assert_eq!((class.lost, class.undelivered, class.tail()), (0, 10, 10));
        let waiting = class.waiting.as_ref().unwrap();
        // The last frame was due a second before the end, and there are 50 a second.
        assert_eq!((waiting.len(), waiting.max()), (10, 1_180_000_000));
        let latencies = class.latencies();
        let [middle, high] = [0.5, 0.99].map(|quantile| latencies.quantile(quantile));
        assert!(!middle.is_least && (2_999_000..3_010_000).contains(&middle.ns), "{middle:?}");
        assert!(high.is_least && high.ns >= 1_000_000_000, "{high:?}");
    }

    /// One publisher that sends some of its 100 frames late, twice or not at all.
    fn disturbed() -> Run {
        let lateness = Lateness {
            late_percent: 10.0,
            delay_min: Duration::from_millis(20),
            delay_max: Duration::from_millis(500),
            withheld_percent: 10.0,
            repeated_percent: 10.0,
        };
        let mut plan = plan(ClassKind::Healthy);
        plan.publishers.truncate(1);
        plan.publishers[0].deviation.lateness = Some(lateness);
        Run::of(plan)
    }

    #[test]
    fn what_is_done_to_frames_on_purpose_is_neither_loss_nor_disorder() {
        let mut run = disturbed();
        let departures = run.publisher_index.departures(0);
        let (count, withheld) = (departures.count(), departures.withheld(departures.count()));
        let copies = u64::from(count) + withheld - 100;
        assert!(copies > 2 && withheld > 2, "{copies} {withheld}");
        let account = run.reception.open(0, Follows::One(0), 1);
        run.receive(account, 0, 0..count);
        assert!(run.reception.is_complete(&run.publisher_index));
        let class = run.settle(&[]);
        assert_eq!((class.expected, class.received), (u64::from(count), u64::from(count)));
        assert_eq!((class.lost, class.duplicated, class.reordered), (0, 0, 0));
        assert_eq!(class.e2e.max(), 3_000_000, "late frames count from when they were to leave");
    }

    #[test]
    fn a_frame_sent_twice_excuses_one_repeat_and_its_absence_is_a_loss() {
        let first_of_two = |run: &Run| {
            let departures = run.publisher_index.departures(0);
            (0..departures.count()).find(|number| departures.is_repeated(*number)).unwrap()
        };
        for (extra, expected) in [(0, [1, 0]), (1, [0, 0]), (2, [0, 1])] {
            let mut run = disturbed();
            let first = first_of_two(&run);
            let account = run.reception.open(0, Follows::One(0), 1);
            let count = run.publisher_index.departures(0).count();
            run.receive(account, 0, 0..=first);
            run.receive(account, 0, (0..extra).map(|_| first + 1));
            run.receive(account, 0, first + 2..count);
            let class = run.settle(&[]);
            assert_eq!([class.lost, class.duplicated], expected, "{extra} more");
        }
    }

    #[test]
    fn what_a_socket_misses_while_it_is_away_is_not_its_to_get() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::One(1), 2);
        run.receive(account, 1, (0..20).chain(22..40));
        let due_ns = |seq: u32| run.publisher_index.intended_ns(1, seq);
        let (left_ns, came_ns) = (due_ns(40), due_ns(60));
        run.reception.disconnect(account, "cut");
        run.reception.rejoin(account, left_ns, came_ns);
        assert!(
            run.reception.is_complete(&run.publisher_index),
            "nothing is expected before the first frame"
        );
        run.receive(account, 1, (60..90).chain(91..100));
        let class = run.settle(&[]);
        assert_eq!((class.sockets, class.expected, class.received, class.lost), (1, 80, 77, 3));
        let returns = &class.returns;
        assert_eq!((returns.left, returns.came, returns.unserved), (1, 1, 0));
        let waited = returns.first_frame.as_ref().map(|found| (found.len(), found.max()));
        assert_eq!(waited, Some((1, 403_000_000)));
    }

    #[test]
    fn a_server_that_takes_a_socket_back_and_sends_nothing_is_found_out() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::All, 2);
        run.receive(account, 0, 0..40);
        let (left_ns, came_ns) =
            (run.publisher_index.intended_ns(0, 40), run.publisher_index.intended_ns(0, 41));
        run.reception.disconnect(account, "churn");
        run.reception.rejoin(account, left_ns, came_ns);
        run.receive(account, 0, 42..100);
        let class = run.settle(&[]);
        assert_eq!((class.lost, class.returns.unserved), (0, 1), "of two topics one is silent");
    }

    #[test]
    fn a_second_tells_what_was_found_missing_in_it() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::One(1), 2);
        run.receive(account, 1, [0, 3, 4]);
        for reason in [GapReason::Lost, GapReason::Conflated] {
            run.reception.gap(account, Gap { from: 1, to: 2, frames: Some(2), reason });
        }
        let part = run.reception.take_second(0);
        assert_eq!((part.received, part.missing, part.gaps), (3, 2, 1));
        run.receive(account, 1, [1, 2, 6]);
        let part = run.reception.take_second(1);
        assert_eq!((part.received, part.missing, part.gaps), (3, 1, 0));
        assert!(!run.reception.has_second());
    }

    #[test]
    fn a_cut_publisher_counts_up_to_the_newest_frame_anybody_has() {
        let mut run = Run::new(ClassKind::Healthy);
        let accounts = [0, 1].map(|_| run.reception.open(0, Follows::One(0), 2));
        run.receive(accounts[0], 0, 0..40);
        run.receive(accounts[1], 0, 0..60);
        let class = run.settle(&[true, false]);
        assert_eq!((class.expected, class.undelivered), (120, 20));
    }
}
