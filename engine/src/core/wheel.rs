//! A timing wheel: which connections are due at which tick. A key stands in it once; when it comes
//! up, its connection is asked for the next deadline and entered again, so moving a deadline later
//! costs nothing. Must not know what a deadline means.

/// Length of a wheel tick, in ms. Deadlines are kept to this precision.
pub const TICK_MS: u64 = 100;
/// Ticks in a second.
pub const TICKS_PER_S: Tick = 1000 / TICK_MS as Tick;
/// Slots of the wheel: deadlines further away fire early and are entered again.
const SLOTS: usize = 512;
/// Entries that an emptied slot keeps room for.
const KEPT_PER_SLOT: usize = 32;

/// A tick of a wheel, counted from the start of its core.
pub type Tick = u32;

/// The tick at or after `ms` milliseconds.
pub fn tick_of_ms(ms: u64) -> Tick {
    ms.div_ceil(TICK_MS).min(u64::from(Tick::MAX)) as Tick
}

/// See the file header.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<(u32, Tick)>>,
    now: Tick,
    entries: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], now: 0, entries: 0 }
    }
}

impl Wheel {
    /// The last tick that has been handled.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// True when nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Deadlines that are kept, those given up included.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Lets go of the entries that their owner has given up.
    pub fn retain(&mut self, mut is_current: impl FnMut(u32, Tick) -> bool) {
        self.entries = 0;
        for slot in &mut self.slots {
            slot.retain(|&(key, at)| is_current(key, at));
            slot.shrink_to(KEPT_PER_SLOT);
            self.entries += slot.len();
        }
    }

    /// Enters `key` for `due`, or the next tick if that is past. Answers the tick at which it fires
    /// at, by which the owner tells a current entry from one it has given up.
    pub fn enter(&mut self, key: u32, due: Tick) -> Tick {
        let earliest = self.now + 1;
        let latest = self.now + SLOTS as Tick - 1;
        let at = due.clamp(earliest, latest);
        self.slots[at as usize % SLOTS].push((key, at));
        self.entries += 1;
        at
    }

    /// Moves on to `now` and hands every entry that came by to `due`.
    pub fn advance(&mut self, now: Tick, mut due: impl FnMut(u32, Tick)) {
        // After a long sleep one round passes every slot.
        self.now = self.now.max(now.saturating_sub(SLOTS as Tick));
        while self.now < now {
            self.now += 1;
            let slot = &mut self.slots[self.now as usize % SLOTS];
            self.entries -= slot.len();
            for (key, at) in slot.drain(..) {
                due(key, at);
            }
            // A storm passes through all slots: what each kept of it would add up. Given back
            // whole, because what shrinking leaves is a little too small for the next slot.
            if slot.capacity() > KEPT_PER_SLOT {
                *slot = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_at(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.advance(now, |key, _| keys.push(key));
        keys
    }

    #[test]
    fn entries_come_by_at_their_tick_and_once() {
        let mut wheel = Wheel::default();
        wheel.enter(1, 3);
        wheel.enter(2, 5);
        assert!(due_at(&mut wheel, 2).is_empty());
        assert_eq!(due_at(&mut wheel, 4), [1]);
        assert_eq!(due_at(&mut wheel, 5), [2]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn past_deadlines_are_due_at_the_next_tick_and_far_ones_come_by_early() {
        let mut wheel = Wheel::default();
        wheel.advance(10, |_, _| ());
        assert_eq!(wheel.enter(1, 4), 11);
        assert!(wheel.enter(2, 10_000) < 10_000);
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut wheel = Wheel::default();
        (0..600).for_each(|key| {
            wheel.enter(key, key + 1);
        });
        assert_eq!(due_at(&mut wheel, 1_000_000).len(), 600);
        assert!(wheel.is_empty());
    }

    #[test]
    fn what_was_given_up_is_let_go_and_the_rest_comes_by() {
        let mut wheel = Wheel::default();
        (0..1_000).for_each(|key| {
            wheel.enter(key, 1 + key / 10);
        });
        wheel.retain(|key, _| key % 100 == 0);
        assert_eq!(wheel.len(), 10);
        assert_eq!(due_at(&mut wheel, 50), [0, 100, 200, 300, 400]);
        assert_eq!(wheel.len(), 5);
    }

    #[test]
    fn a_storm_that_is_over_leaves_no_memory_behind() {
        let mut wheel = Wheel::default();
        for now in 1..2 * SLOTS as Tick {
            (0..500).for_each(|key| {
                wheel.enter(key, now + 50);
            });
            wheel.advance(now, |_, _| ());
        }
        wheel.advance(3 * SLOTS as Tick, |_, _| ());
        assert!(wheel.is_empty());
        let kept: usize = wheel.slots.iter().map(Vec::capacity).sum();
        assert!(kept <= SLOTS * KEPT_PER_SLOT, "room for {kept} entries");
    }
}
