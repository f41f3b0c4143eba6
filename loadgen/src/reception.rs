//! What becomes of a message: checked, matched with its publisher's tick, counted and timed. One
//! `Reception` per subscriber thread; the ledger of all threads is settled at the end of the run.
//! Must not know sockets and reads no clock.

use crate::histograms::SecondHistogram;
use crate::outcome::ClassOutcome;
use crate::plan::{ClassKind, Follows, Plan};
use crate::spread::SpreadSamples;
use crate::stamp::{Memo, Reject, Roster, Stamp};
use crate::verify::{Tracker, Verdict};
use crate::windows::WindowPart;
use crate::wire::Gap;

/// Everything the sockets of one thread received.
#[derive(Debug)]
pub struct Reception {
    memo: Memo,
    classes: Vec<ClassOutcome>,
    accounts: Vec<Account>,
    trackers: Vec<Tracker>,
    spread: SpreadSamples,
    second: Box<SecondHistogram>,
    second_received: u64,
    received: u64,
    missing: u64,
}

/// One socket's place in the ledger: which frames it has to get, and how it ended.
#[derive(Debug, Clone, Copy)]
struct Account {
    class: u16,
    follows: Follows,
    tracker: u32,
    end: End,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Still open when the run was over.
    Open,
    /// The server ended it, or broke the protocol.
    Closed,
    /// The run's own fault plan.
    Killed,
}

impl Reception {
    /// The reception of a thread that has no socket yet.
    pub fn new(plan: &Plan) -> Reception {
        let class =
            |class: &crate::plan::ClassPlan| ClassOutcome::new(class.name.clone(), class.kind);
        Reception {
            memo: Memo::new(plan.publishers.len()),
            classes: plan.classes.iter().map(class).collect(),
            accounts: Vec::new(),
            trackers: Vec::new(),
            spread: SpreadSamples::default(),
            second: Box::new(SecondHistogram::new()),
            second_received: 0,
            received: 0,
            missing: 0,
        }
    }

    /// Opens the account of a connected socket.
    pub fn open(&mut self, class: u16, follows: Follows, publishers: usize) -> u32 {
        let trackers = if follows == Follows::All { publishers } else { 1 };
        let account =
            Account { class, follows, tracker: self.trackers.len() as u32, end: End::Open };
        self.trackers.resize(self.trackers.len() + trackers, Tracker::new());
        self.accounts.push(account);
        if let Some(class) = self.classes.get_mut(usize::from(class)) {
            class.sockets += 1;
        }
        self.accounts.len() as u32 - 1
    }

    /// Closes an account, naming the reason.
    pub fn close(&mut self, account: u32, end: End, reason: String) {
        let account = &mut self.accounts[account as usize];
        account.end = end;
        if let Some(class) = self.classes.get_mut(usize::from(account.class)) {
            *class.closes.entry(reason).or_default() += 1;
        }
    }

    /// Counts a read call.
    pub fn read(&mut self, account: u32, bytes: usize) {
        let class = self.class(account);
        class.reads += 1;
        class.bytes += bytes as u64;
    }

    /// Counts a gap the server told of.
    pub fn gap(&mut self, account: u32, gap: Gap) {
        let class = self.class(account);
        class.gap_notices += 1;
        class.gap_frames = class.gap_frames.saturating_add(gap.to.saturating_sub(gap.from) + 1);
    }

    /// Takes a message read at `now_ns`.
    #[inline]
    pub fn message(&mut self, account: u32, message: &[u8], roster: Option<&Roster>, now_ns: u64) {
        match self.memo.stamp(message, roster) {
            Ok(stamp) => self.frame(account, stamp, now_ns),
            Err(Reject::Corrupt) => self.class(account).corrupt += 1,
            Err(Reject::Foreign) => self.class(account).foreign += 1,
        }
    }

    #[inline]
    fn frame(&mut self, account: u32, stamp: Stamp, now_ns: u64) {
        let Account { class, follows, tracker, .. } = self.accounts[account as usize];
        let class = &mut self.classes[usize::from(class)];
        let tracker = match follows {
            Follows::All => tracker + stamp.publisher,
            Follows::One(publisher) if publisher == stamp.publisher => tracker,
            Follows::One(_) => return class.foreign += 1,
        };
        match self.trackers[tracker as usize].accept(stamp.seq) {
            Verdict::Duplicate => return class.duplicated += 1,
            Verdict::InOrder { skipped } => self.missing += u64::from(skipped),
            Verdict::Reordered => {
                class.reordered += 1;
                self.missing -= 1;
            }
        }
        class.received += 1;
        self.received += 1;
        self.second_received += 1;
        let e2e_ns = since(now_ns, stamp.intended_ns);
        self.second.record(e2e_ns);
        if stamp.measured {
            class.e2e.record(e2e_ns);
            let service_ns = stamp.sent_ns.map(|sent_ns| since(now_ns, sent_ns));
            service_ns.inspect(|ns| class.service.record(*ns));
            if let (true, ClassKind::Healthy, Some(ns)) = (stamp.sampled, class.kind, service_ns) {
                self.spread.record(stamp.publisher, stamp.seq, ns);
            }
        }
    }

    /// Distinct frames received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames jumped over so far and not seen since.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Whether every socket still open, stalled ones aside, has all that was published.
    pub fn is_complete(&self, roster: &Roster) -> bool {
        self.accounts.iter().filter(|account| account.end == End::Open).all(|account| {
            let kind = self.classes[usize::from(account.class)].kind;
            kind == ClassKind::Stalled
                || followed(&self.trackers, account, roster.publishers()).all(
                    |(publisher, tracker)| tracker.is_complete(roster.log(publisher).written()),
                )
        })
    }

    /// Takes what was received since the last call, as the window of a second.
    pub fn take_second(&mut self, t_s: u32) -> WindowPart {
        let received = std::mem::take(&mut self.second_received);
        let e2e = Some(std::mem::take(&mut self.second));
        WindowPart { t_s, sent: 0, received, e2e }
    }

    /// Whether anything was received since the last second was taken.
    pub fn has_second(&self) -> bool {
        self.second_received > 0
    }

    fn class(&mut self, account: u32) -> &mut ClassOutcome {
        let class = self.accounts[account as usize].class;
        &mut self.classes[usize::from(class)]
    }
}

/// Settles the ledgers of all threads: what every socket should have, against what it has.
/// `cut` marks publishers whose socket ended early: nobody can say which of their last frames the
/// server still read, so they count up to the newest that anybody received.
pub fn settle(
    receptions: Vec<Reception>,
    roster: &Roster,
    cut: &[bool],
    plan: &Plan,
) -> (Vec<ClassOutcome>, SpreadSamples) {
    let ends = published(&receptions, roster, cut);
    let mut classes: Vec<ClassOutcome> = plan
        .classes
        .iter()
        .map(|class| ClassOutcome::new(class.name.clone(), class.kind))
        .collect();
    let mut spread = SpreadSamples::default();
    for mut reception in receptions {
        for account in &reception.accounts {
            let class = &mut reception.classes[usize::from(account.class)];
            for (publisher, tracker) in followed(&reception.trackers, account, ends.len()) {
                charge(class, account.end, tracker, ends[publisher as usize]);
            }
        }
        classes.iter_mut().zip(&reception.classes).for_each(|(into, class)| into.merge(class));
        spread.merge(reception.spread);
    }
    (classes, spread)
}

fn charge(class: &mut ClassOutcome, end: End, tracker: &Tracker, published: u32) {
    let unread = end == End::Killed || (end == End::Open && class.kind != ClassKind::Healthy);
    let tail = if unread { 0 } else { u64::from(tracker.tail(published)) };
    class.expected += u64::from(tracker.head()) + tail;
    class.lost += u64::from(tracker.holes());
    match end {
        End::Closed => class.lost_after_close += tail,
        End::Open | End::Killed => class.lost += tail,
    }
}

fn published(receptions: &[Reception], roster: &Roster, cut: &[bool]) -> Vec<u32> {
    let written = |publisher: usize| roster.log(publisher as u32).written();
    let mut ends: Vec<u32> = (0..roster.publishers())
        .map(|publisher| if cut.get(publisher) == Some(&true) { 0 } else { written(publisher) })
        .collect();
    for reception in receptions {
        for account in &reception.accounts {
            for (publisher, tracker) in followed(&reception.trackers, account, ends.len()) {
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
    publishers: usize,
) -> impl Iterator<Item = (u32, &'t Tracker)> + use<'t> {
    let (first, count) = match account.follows {
        Follows::All => (0, publishers),
        Follows::One(publisher) => (publisher, 1),
    };
    let from = account.tracker as usize;
    (first..).zip(&trackers[from..from + count])
}

fn since(now_ns: u64, then_ns: u64) -> i64 {
    now_ns.wrapping_sub(then_ns).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SECOND_NS, UtcMap};
    use crate::fixtures;
    use crate::payload::Encoder;
    use crate::plan::ClassPlan;

    const START_UNIX_NS: u64 = 1_767_225_600 * SECOND_NS;

    fn plan(kind: ClassKind) -> Plan {
        let publishers = vec![fixtures::publisher(1, 50), fixtures::publisher(2, 50)];
        let classes = vec![ClassPlan { name: "all".into(), kind }];
        Plan { classes, ..fixtures::plan_of(publishers) }
    }

    /// A run in which both publishers sent 100 frames, 1 ms after they were due.
    struct Run {
        plan: Plan,
        roster: Roster,
        reception: Reception,
    }

    impl Run {
        fn new(kind: ClassKind) -> Run {
            let plan = plan(kind);
            let roster = Roster::new(&plan, START_UNIX_NS, UtcMap::sample(), 1);
            for publisher in 0..2 {
                for seq in 0..100 {
                    let sent_ns = roster.intended_ns(publisher, seq) + 1_000_000;
                    roster.log(publisher).attempt(seq, sent_ns);
                }
                roster.log(publisher).set_written(100);
            }
            Run { reception: Reception::new(&plan), plan, roster }
        }

        /// The account receives frames of a publisher, 3 ms after they were due.
        fn receive(&mut self, account: u32, publisher: u32, seqs: impl IntoIterator<Item = u32>) {
            let schedule = *self.roster.schedule(publisher);
            let of = &self.plan.publishers[publisher as usize];
            let mut encoder = Encoder::new(1, 1, of, schedule);
            for seq in seqs {
                let now_ns = self.roster.intended_ns(publisher, seq) + 3_000_000;
                let roster = Some(&self.roster);
                self.reception.message(account, encoder.encode(seq), roster, now_ns);
            }
        }

        fn settle(self, cut: &[bool]) -> ClassOutcome {
            let (classes, _) = settle(vec![self.reception], &self.roster, cut, &self.plan);
            classes.into_iter().next().unwrap()
        }
    }

    #[test]
    fn latencies_are_told_apart() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::One(1), 2);
        run.receive(account, 1, 0..100);
        assert!(run.reception.is_complete(&run.roster));
        let class = run.settle(&[]);
        assert_eq!((class.expected, class.received, class.lost), (100, 100, 0));
        assert_eq!((class.e2e.max(), class.service.max()), (3_000_000, 2_000_000));
    }

    #[test]
    fn a_frame_of_a_publisher_not_followed_is_foreign() {
        let mut run = Run::new(ClassKind::Healthy);
        let account = run.reception.open(0, Follows::One(1), 2);
        run.receive(account, 0, 0..3);
        assert!(!run.reception.is_complete(&run.roster));
        let class = run.settle(&[]);
        assert_eq!((class.foreign, class.received, class.lost), (3, 0, 100));
    }

    #[test]
    fn a_missing_tail_is_lost_closed_killed_or_unread() {
        let cases = [
            (ClassKind::Healthy, None, [200, 198, 0]),
            (ClassKind::Healthy, Some(End::Closed), [200, 1, 197]),
            (ClassKind::Healthy, Some(End::Killed), [3, 1, 0]),
            (ClassKind::Stalled, None, [3, 1, 0]),
            (ClassKind::Slow { bytes_per_s: 1 }, None, [3, 1, 0]),
            (ClassKind::Stalled, Some(End::Closed), [200, 1, 197]),
        ];
        for (kind, end, expected) in cases {
            let mut run = Run::new(kind);
            let account = run.reception.open(0, Follows::All, 2);
            run.receive(account, 0, [0, 2]);
            end.inspect(|end| run.reception.close(account, *end, "why".into()));
            let class = run.settle(&[]);
            let counted = [class.expected, class.lost, class.lost_after_close];
            assert_eq!(counted, expected, "{kind:?} {end:?}");
        }
    }

    #[test]
    fn a_cut_publisher_counts_up_to_the_newest_frame_anybody_has() {
        let mut run = Run::new(ClassKind::Healthy);
        let accounts = [0, 1].map(|_| run.reception.open(0, Follows::One(0), 2));
        run.receive(accounts[0], 0, 0..40);
        run.receive(accounts[1], 0, 0..60);
        let class = run.settle(&[true, false]);
        assert_eq!((class.expected, class.lost), (120, 20));
    }
}
