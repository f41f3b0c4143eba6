//! Puts what many topics measured at one instant together. A pure machine: time and arrivals go
//! in, ticks come out. Owns when a tick is due, who belongs to the group, and the bounds. Must not
//! know topics' contents, clocks or threads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// When a tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// So many nanoseconds after the instant itself.
    Absolute(u64),
    /// So many nanoseconds after the first arrival of the instant.
    Relative(u64),
}

/// How a group is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// When a tick is due that is not complete.
    pub wait: Wait,
    /// Instants in a second.
    pub rate: u32,
    /// An arrival may be so many nanoseconds ahead of the clock.
    pub lead_ns: u64,
    /// A topic that was not in time for so many nanoseconds is no member any more.
    pub member_ns: u64,
    /// While a member joined less than so many nanoseconds ago, ticks are not sent before their
    /// wait is over: nobody knows yet how many members there are.
    pub settle_ns: u64,
    /// Members at most.
    pub members_max: usize,
    /// Instants that are open at once, at most.
    pub open_max: usize,
    /// Bytes of all that is held, at most.
    pub held_bytes_max: usize,
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is held for its tick.
    Held,
    /// The tick of its instant, or of a later one, has been sent.
    Late,
    /// Its instant is too far ahead.
    Ahead,
    /// The topic has this instant already.
    Twice,
    /// There is no room for another member, or for more bytes.
    NoRoom,
}

/// What the group measured at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick<V> {
    /// The instant, in nanoseconds since 1970, UTC, rounded to the grid.
    pub instant_ns: u64,
    /// When the first of it arrived.
    pub first_ns: u64,
    /// What arrived, in the order of the topics.
    pub values: BTreeMap<Arc<str>, V>,
    /// The members that it lacks, in order.
    pub missing: Vec<Arc<str>>,
}

/// Something that takes room while it is held.
pub trait Held {
    /// How many bytes.
    fn bytes(&self) -> usize;
}

/// The machine.
#[derive(Debug)]
pub struct Aligner<V> {
    rules: Rules,
    /// The members, and when each was last in time.
    members: HashMap<Arc<str>, u64>,
    /// Open instants by their number on the grid.
    open: BTreeMap<u64, Open<V>>,
    /// The newest instant that was sent.
    sent: Option<u64>,
    held_bytes: usize,
    /// When the last member joined.
    joined_ns: u64,
    forgotten_ns: u64,
}

#[derive(Debug)]
struct Open<V> {
    first_ns: u64,
    values: BTreeMap<Arc<str>, V>,
}

const NS_PER_S: u64 = 1_000_000_000;

impl<V: Held> Aligner<V> {
    /// A group without members.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            members: HashMap::new(),
            open: BTreeMap::new(),
            sent: None,
            held_bytes: 0,
            joined_ns: 0,
            forgotten_ns: 0,
        }
    }

    /// Takes what a topic measured at an instant. The clock is that of the instants: UTC.
    pub fn arrive(&mut self, topic: &Arc<str>, instant_ns: u64, value: V, now_ns: u64) -> Arrival {
        if instant_ns > now_ns.saturating_add(self.rules.lead_ns) {
            return Arrival::Ahead;
        }
        let number = self.number(instant_ns);
        if self.sent.is_some_and(|sent| number <= sent) || self.is_over(number, now_ns) {
            return Arrival::Late;
        }
        self.hold(topic, number, value, now_ns)
    }

    /// Notes that a member was in time, which a topic becomes by that where there is room. Who is
    /// always late, as a device whose clock is wrong, is none: nobody should wait for it.
    fn is_member(&mut self, topic: &Arc<str>, now_ns: u64) -> bool {
        if let Some(heard_ns) = self.members.get_mut(topic) {
            *heard_ns = now_ns;
            return true;
        }
        let has_room = self.members.len() < self.rules.members_max;
        if has_room {
            self.members.insert(Arc::clone(topic), now_ns);
            self.joined_ns = now_ns;
        }
        has_room
    }

    fn hold(&mut self, topic: &Arc<str>, number: u64, value: V, now_ns: u64) -> Arrival {
        let bytes = value.bytes();
        if self.open.get(&number).is_some_and(|open| open.values.contains_key(topic)) {
            return Arrival::Twice;
        }
        let has_room = self.held_bytes + bytes <= self.rules.held_bytes_max;
        if !has_room || !self.is_member(topic, now_ns) {
            return Arrival::NoRoom;
        }
        let new = || Open { first_ns: now_ns, values: BTreeMap::new() };
        self.open.entry(number).or_insert_with(new).values.insert(Arc::clone(topic), value);
        self.held_bytes += bytes;
        Arrival::Held
    }

    /// The next tick that is complete, or whose wait is over. Ticks come in the order of their
    /// instants: one that is complete waits for those before it, and theirs end.
    pub fn take_due(&mut self, now_ns: u64) -> Option<Tick<V>> {
        self.forget(now_ns);
        let (&number, open) = self.open.first_key_value()?;
        let is_due = self.due_ns(number, open) <= now_ns
            || self.open.len() > self.rules.open_max
            || self.is_settled(now_ns) && self.is_complete(open);
        if !is_due {
            return None;
        }
        let Open { first_ns, values } = self.open.remove(&number)?;
        self.sent = Some(number);
        self.held_bytes -= values.values().map(Held::bytes).sum::<usize>();
        let members = self.members.keys().filter(|topic| !values.contains_key(*topic));
        let missing: BTreeSet<_> = members.cloned().collect();
        let missing = missing.into_iter().collect();
        Some(Tick { instant_ns: self.instant_ns(number), first_ns, values, missing })
    }

    /// When a tick is due at the latest, if one is open.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.open.first_key_value().map(|(&number, open)| self.due_ns(number, open))
    }

    /// How many members there are.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Whether an instant's wait is over before anything of it came.
    fn is_over(&self, number: u64, now_ns: u64) -> bool {
        match self.rules.wait {
            Wait::Absolute(wait_ns) => self.instant_ns(number).saturating_add(wait_ns) <= now_ns,
            Wait::Relative(_) => false,
        }
    }

    fn due_ns(&self, number: u64, open: &Open<V>) -> u64 {
        match self.rules.wait {
            Wait::Absolute(wait_ns) => self.instant_ns(number).saturating_add(wait_ns),
            Wait::Relative(wait_ns) => open.first_ns.saturating_add(wait_ns),
        }
    }

    fn is_settled(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.joined_ns) >= self.rules.settle_ns
    }

    fn is_complete(&self, open: &Open<V>) -> bool {
        open.values.len() >= self.members.len()
            && self.members.keys().all(|topic| open.values.contains_key(topic))
    }

    /// Once in a while: members that are silent are members no more.
    fn forget(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.forgotten_ns) >= FORGET_EVERY_NS {
            self.forgotten_ns = now_ns;
            let member_ns = self.rules.member_ns;
            self.members.retain(|_, heard_ns| now_ns.saturating_sub(*heard_ns) < member_ns);
        }
    }

    /// The number of the instant of the grid that is nearest.
    fn number(&self, instant_ns: u64) -> u64 {
        let rate = u64::from(self.rules.rate);
        let (seconds, rest) = (instant_ns / NS_PER_S, instant_ns % NS_PER_S);
        seconds * rate + (rest * rate + NS_PER_S / 2) / NS_PER_S
    }

    fn instant_ns(&self, number: u64) -> u64 {
        let rate = u64::from(self.rules.rate);
        let (seconds, rest) = (number / rate, number % rate);
        seconds.saturating_mul(NS_PER_S).saturating_add((rest * NS_PER_S + rate / 2) / rate)
    }
}

/// How often silent members are looked for.
const FORGET_EVERY_NS: u64 = NS_PER_S / 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// Takes as many bytes as it says.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Value(usize);

    impl Held for Value {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    fn rules(wait: Wait) -> Rules {
        Rules {
            wait,
            rate: 50,
            lead_ns: 10 * MS,
            member_ns: 10 * NS_PER_S,
            settle_ns: 0,
            members_max: 4,
            open_max: 1000,
            held_bytes_max: 1000,
        }
    }

    struct Rig(Aligner<Value>);

    impl Rig {
        fn new(wait: Wait) -> Self {
            Self(Aligner::new(rules(wait)))
        }

        /// An arrival: topic, instant in milliseconds, time in milliseconds.
        fn arrive(&mut self, topic: &str, instant_ms: u64, now_ms: u64) -> Arrival {
            let value = Value(1);
            self.0.arrive(&Arc::from(topic), instant_ms * MS, value, now_ms * MS)
        }

        /// The next tick: its instant in milliseconds, who is in it and who is missing.
        fn tick(&mut self, now_ms: u64) -> Option<(u64, String, String)> {
            let tick = self.0.take_due(now_ms * MS)?;
            let there: Vec<_> = tick.values.keys().map(|topic| &**topic).collect();
            let missing: Vec<_> = tick.missing.iter().map(|topic| &**topic).collect();
            Some((tick.instant_ns / MS, there.concat(), missing.concat()))
        }
    }

    fn told(instant_ms: u64, there: &str, missing: &str) -> Option<(u64, String, String)> {
        Some((instant_ms, there.to_owned(), missing.to_owned()))
    }

    #[test]
    fn a_complete_tick_waits_for_nobody() {
        let mut rig = Rig::new(Wait::Absolute(100 * MS));
        for topic in ["a", "b"] {
            rig.arrive(topic, 1000, 1001);
        }
        assert_eq!(rig.tick(1001), told(1000, "ab", ""));
        rig.arrive("a", 1020, 1021);
        assert_eq!((rig.tick(1022), rig.0.deadline_ns()), (None, Some(1120 * MS)));
        rig.arrive("b", 1020, 1023);
        assert_eq!(rig.tick(1023), told(1020, "ab", ""));
    }

    #[test]
    fn who_is_missing_is_named_when_the_wait_is_over() {
        for (wait, due_ms) in [(Wait::Absolute(50 * MS), 1070), (Wait::Relative(50 * MS), 1080)] {
            let mut rig = Rig::new(wait);
            for topic in ["a", "b", "c"] {
                rig.arrive(topic, 1000, 1010);
            }
            assert_eq!(rig.tick(1010), told(1000, "abc", ""));
            rig.arrive("b", 1020, 1030);
            assert_eq!(rig.tick(due_ms - 1), None, "{wait:?}");
            assert_eq!(rig.tick(due_ms), told(1020, "b", "ac"), "{wait:?}");
            assert_eq!(rig.arrive("a", 1020, due_ms), Arrival::Late);
        }
    }

    #[test]
    fn nobody_is_complete_while_members_join() {
        let mut rig = Rig::new(Wait::Absolute(50 * MS));
        rig.0.rules.settle_ns = 100 * MS;
        rig.arrive("a", 1000, 1001);
        assert_eq!(rig.tick(1001), None, "there may be others");
        rig.arrive("b", 1000, 1010);
        assert_eq!(rig.tick(1050), told(1000, "ab", ""));
        for topic in ["a", "b"] {
            rig.arrive(topic, 1120, 1121);
        }
        assert_eq!(rig.tick(1121), told(1120, "ab", ""));
    }

    #[test]
    fn ticks_come_in_the_order_of_their_instants() {
        let mut rig = Rig::new(Wait::Absolute(100 * MS));
        for topic in ["a", "b"] {
            rig.arrive(topic, 1000, 1001);
        }
        assert!(rig.tick(1001).is_some());
        rig.arrive("a", 1020, 1025);
        for topic in ["a", "b"] {
            rig.arrive(topic, 1040, 1041);
        }
        assert_eq!(rig.tick(1050), None, "the one before is open");
        assert_eq!(rig.tick(1120), told(1020, "a", "b"));
        assert_eq!(rig.tick(1120), told(1040, "ab", ""));
        assert_eq!(rig.arrive("b", 1020, 1121), Arrival::Late);
    }

    #[test]
    fn instants_are_those_of_the_grid() {
        let mut rig = Rig::new(Wait::Relative(MS));
        // 60 a second, as stamps of a microsecond say it, and of a clock that is a little off.
        rig.0.rules.rate = 60;
        for (topic, micros) in [("a", 16_667), ("b", 16_666), ("c", 17_100)] {
            let instant_ns = 5 * NS_PER_S + micros * 1000;
            let now_ns = 6 * NS_PER_S;
            assert_eq!(rig.0.arrive(&topic.into(), instant_ns, Value(1), now_ns), Arrival::Held);
        }
        let tick = rig.0.take_due(6 * NS_PER_S).unwrap();
        assert_eq!((tick.instant_ns, tick.values.len()), (5_016_666_667, 3));
        assert_eq!(rig.0.number(5_999_999_999), 360, "rounds up to the next second");
    }

    #[test]
    fn what_is_ahead_twice_or_too_much_is_told_and_not_kept() {
        let mut rig = Rig::new(Wait::Relative(50 * MS));
        assert_eq!(rig.arrive("a", 1020, 1000), Arrival::Ahead);
        assert_eq!(rig.0.members(), 0);
        assert_eq!(rig.arrive("a", 1000, 1000), Arrival::Held);
        assert_eq!(rig.arrive("a", 1000, 1001), Arrival::Twice);
        let big = rig.0.arrive(&"b".into(), 1000 * MS, Value(1000), 1000 * MS);
        assert_eq!(big, Arrival::NoRoom);
        for topic in ["b", "c", "d"] {
            assert_eq!(rig.arrive(topic, 1000, 1001), Arrival::Held);
        }
        assert_eq!(rig.arrive("e", 1000, 1001), Arrival::NoRoom, "a fifth member");
    }

    #[test]
    fn nobody_waits_for_a_clock_that_is_wrong() {
        let mut rig = Rig::new(Wait::Absolute(50 * MS));
        for now_ms in [1001, 1021, 1041] {
            assert_eq!(rig.arrive("wrong", 7, now_ms), Arrival::Late);
            rig.arrive("a", now_ms - 1, now_ms);
            assert_eq!(rig.tick(now_ms), told(now_ms - 1, "a", ""));
        }
    }

    #[test]
    fn a_silent_member_is_forgotten() {
        let mut rig = Rig::new(Wait::Absolute(50 * MS));
        for topic in ["a", "b"] {
            rig.arrive(topic, 1000, 1001);
        }
        assert!(rig.tick(1001).is_some());
        rig.arrive("a", 12_000, 12_001);
        assert_eq!(rig.tick(12_001), told(12_000, "a", ""));
    }

    #[test]
    fn more_instants_than_may_be_open_end_the_oldest() {
        let mut rig = Rig::new(Wait::Relative(10_000 * MS));
        rig.0.rules.open_max = 2;
        for topic in ["a", "b"] {
            rig.arrive(topic, 1000, 1001);
        }
        assert!(rig.tick(1001).is_some());
        for instant_ms in [1020, 1040] {
            rig.arrive("a", instant_ms, 1050);
        }
        assert_eq!(rig.tick(1050), None);
        rig.arrive("a", 1060, 1061);
        assert_eq!(rig.tick(1061), told(1020, "a", "b"));
    }

    /// What is sent by the definition: time goes on millisecond by millisecond over a list of all
    /// that has arrived, and everything is worked out anew from it.
    struct Naive {
        wait: Wait,
        members: Vec<String>,
        arrived: Vec<(u64, u64, String)>,
        sent: Vec<(u64, String, String)>,
        late: usize,
    }

    impl Naive {
        fn arrive(&mut self, now_ms: u64, instant_ms: u64, topic: &str) {
            let after_sent = self.sent.iter().all(|(sent, ..)| *sent < instant_ms);
            let in_time = match self.wait {
                Wait::Absolute(wait_ns) => now_ms < instant_ms + wait_ns / MS,
                Wait::Relative(_) => true,
            };
            if after_sent && in_time {
                if !self.members.iter().any(|member| member == topic) {
                    self.members.push(topic.to_owned());
                    self.members.sort();
                }
                self.arrived.push((now_ms, instant_ms, topic.to_owned()));
            } else {
                self.late += 1;
            }
        }

        fn send(&mut self, now_ms: u64) {
            loop {
                let Some(instant_ms) = self.arrived.iter().map(|arrival| arrival.1).min() else {
                    return;
                };
                let of = self.arrived.iter().filter(|arrival| arrival.1 == instant_ms);
                let first_ms = of.clone().map(|arrival| arrival.0).min().unwrap();
                let is_there = |member: &&String| of.clone().any(|arrival| arrival.2 == **member);
                let (there, missing): (Vec<_>, Vec<_>) =
                    self.members.iter().partition(|member| is_there(member));
                let due_ms = match self.wait {
                    Wait::Absolute(wait_ns) => instant_ms + wait_ns / MS,
                    Wait::Relative(wait_ns) => first_ms + wait_ns / MS,
                };
                if !missing.is_empty() && now_ms < due_ms {
                    return;
                }
                let join = |names: Vec<&String>| names.into_iter().cloned().collect::<String>();
                self.sent.push((instant_ms, join(there), join(missing)));
                self.arrived.retain(|arrival| arrival.1 != instant_ms);
            }
        }
    }

    proptest! {
        #[test]
        fn it_sends_what_the_definition_says(
            // Delay in milliseconds of each topic's arrival, or none, by instant.
            delays in prop::collection::vec(
                prop::array::uniform3(prop::option::weighted(0.9, 0u64..150)), 1..20,
            ),
            wait_ms in 1u64..120,
            is_absolute in any::<bool>(),
        ) {
            let wait = if is_absolute { Wait::Absolute } else { Wait::Relative }(wait_ms * MS);
            let mut arrivals = Vec::new();
            for (instant, delays) in (0u64..).zip(&delays) {
                let instant_ms = 1000 + 20 * instant;
                for (topic, delay) in ["a", "b", "c"].iter().zip(delays) {
                    arrivals.extend(delay.map(|delay| (instant_ms + delay, instant_ms, *topic)));
                }
            }
            arrivals.sort_unstable();
            let mut rig = Rig::new(wait);
            let (members, arrived, sent) = (Vec::new(), Vec::new(), Vec::new());
            let mut naive = Naive { wait, members, arrived, sent, late: 0 };
            let (mut sent, mut late) = (Vec::new(), 0);
            for now_ms in 1000..2000 {
                sent.extend(std::iter::from_fn(|| rig.tick(now_ms)));
                naive.send(now_ms);
                for (_, instant_ms, topic) in arrivals.iter().filter(|a| a.0 == now_ms) {
                    late += usize::from(rig.arrive(topic, *instant_ms, now_ms) == Arrival::Late);
                    naive.arrive(now_ms, *instant_ms, topic);
                    sent.extend(std::iter::from_fn(|| rig.tick(now_ms)));
                    naive.send(now_ms);
                }
            }
            prop_assert_eq!(&sent, &naive.sent);
            prop_assert_eq!(late, naive.late);
            let in_ticks: usize = sent.iter().map(|(_, there, _)| there.len()).sum();
            prop_assert_eq!(in_ticks + late, arrivals.len(), "everything is accounted for");
            prop_assert!(rig.0.open.is_empty() && rig.0.held_bytes == 0);
        }

        #[test]
        fn nothing_grows_beyond_its_bounds(
            arrivals in prop::collection::vec((0u8..10, any::<u32>(), 0usize..300), 0..200),
        ) {
            let mut rig = Rig::new(Wait::Relative(50 * MS));
            rig.0.rules.open_max = 5;
            let now_ns = u64::from(u32::MAX) * 1000;
            for (topic, micros, bytes) in arrivals {
                let topic = Arc::from(topic.to_string());
                rig.0.arrive(&topic, u64::from(micros) * 1000, Value(bytes), now_ns);
                while rig.0.take_due(now_ns).is_some() {}
                prop_assert!(rig.0.open.len() <= 5 && rig.0.members() <= 4);
                let held = rig.0.open.values().flat_map(|open| open.values.values());
                prop_assert_eq!(held.map(Held::bytes).sum::<usize>(), rig.0.held_bytes);
                prop_assert!(rig.0.held_bytes <= 1000);
            }
        }
    }
}
