//! Whether and when a tick is complete. Publishers with the same rate on the grid send for the same
//! instants; for a socket that follows several of them, a tick is complete when the last of its
//! frames has arrived. Keeps the open ticks of each socket and tick group (the publishers with one
//! rate). Must not know sockets or time.

use crate::plan::plan::Plan;
use crate::plan::publisher::PublisherPlan;
use crate::time::rate::Rate;

/// The publishers that share their ticks.
#[derive(Debug, Clone, Default)]
pub struct TickGroups {
    /// By publisher; `None` for those off the grid, even if on purpose.
    of: Vec<Option<u8>>,
    count: usize,
}

impl TickGroups {
    /// The tick groups of a plan: its first `TICK_GROUPS_MAX` rates.
    pub fn of(plan: &Plan) -> TickGroups {
        let mut rates: Vec<Rate> = Vec::new();
        let of = plan.publishers.iter().map(|publisher| {
            let place = place(&mut rates, publisher)?;
            u8::try_from(place).ok()
        });
        let of = of.collect();
        TickGroups { of, count: rates.len() }
    }

    /// The number of ticks that a socket could have completed: for each tick group of which it
    /// follows several publishers, the frames of the publisher that published least. `followed`
    /// holds publishers and their measured frames.
    pub fn whole_ticks(&self, followed: impl Iterator<Item = (u32, u32)>) -> u64 {
        let mut least = vec![(0u32, u32::MAX); self.count];
        for (publisher, frames) in followed {
            if let Some((members, fewest)) = self.place_of(publisher).and_then(|p| least.get_mut(p))
            {
                *members += 1;
                *fewest = (*fewest).min(frames);
            }
        }
        let several = least.into_iter().filter(|(members, _)| *members > 1);
        several.map(|(_, fewest)| u64::from(fewest)).sum()
    }

    #[inline]
    fn place_of(&self, publisher: u32) -> Option<usize> {
        self.of.get(publisher as usize).copied().flatten().map(usize::from)
    }
}

fn place(rates: &mut Vec<Rate>, publisher: &PublisherPlan) -> Option<usize> {
    let is_on_grid = publisher.offset_ns == 0 && publisher.jitter_ns == 0;
    let is_moved = publisher.deviation.moves_frames() || publisher.recorded.is_some();
    // Frames of a publisher that begins later have lower numbers than other frames of the same
    // tick.
    let is_late = publisher.deviation.starts.is_some();
    if !is_on_grid || is_moved || is_late {
        return None;
    }
    let known = rates.iter().position(|rate| *rate == publisher.rate);
    if known.is_none() && rates.len() < TICK_GROUPS_MAX {
        rates.push(publisher.rate);
        return Some(rates.len() - 1);
    }
    known
}

/// The open ticks of one thread's sockets.
#[derive(Debug)]
pub struct TickTracker {
    groups: TickGroups,
    /// By account; may be shorter than the accounts if the last ones do not follow several
    /// publishers.
    first_row_of: Vec<Option<u32>>,
    /// One per tick group of each such account.
    rows: Vec<Row>,
}

/// The newest ticks of one tick group at one socket.
#[derive(Debug, Clone)]
struct Row {
    /// The number of frames of a complete tick.
    members: u32,
    ticks: [OpenTick; OPEN_TICKS],
}

#[derive(Debug, Clone, Copy, Default)]
struct OpenTick {
    seq: u32,
    arrived: u32,
}

impl TickTracker {
    /// The state without sockets.
    pub fn new(plan: &Plan) -> TickTracker {
        TickTracker { groups: TickGroups::of(plan), first_row_of: Vec::new(), rows: Vec::new() }
    }

    /// Creates the rows of a socket, if it follows several publishers of a tick group.
    pub fn open(&mut self, account: u32, followed: impl Iterator<Item = u32>) {
        let mut members = vec![0u32; self.groups.count];
        for place in followed.filter_map(|publisher| self.groups.place_of(publisher)) {
            members[place] += 1;
        }
        if members.iter().all(|members| *members < 2) {
            return;
        }
        self.first_row_of.resize(account as usize + 1, None);
        self.first_row_of[account as usize] = Some(self.rows.len() as u32);
        let ticks = [OpenTick::default(); OPEN_TICKS];
        self.rows.extend(members.into_iter().map(|members| Row { members, ticks }));
    }

    /// Records a frame; returns whether it completes its tick. A tick that is `OPEN_TICKS` behind
    /// the newest is given up.
    #[inline]
    pub fn arrived(&mut self, account: u32, publisher: u32, seq: u32) -> bool {
        let first = self.first_row_of.get(account as usize).copied().flatten();
        let (Some(first), Some(place)) = (first, self.groups.place_of(publisher)) else {
            return false;
        };
        self.rows.get_mut(first as usize + place).is_some_and(|row| row.arrived(seq))
    }
}

impl Row {
    fn arrived(&mut self, seq: u32) -> bool {
        let tick = &mut self.ticks[seq as usize % OPEN_TICKS];
        if tick.arrived == 0 || tick.seq < seq {
            *tick = OpenTick { seq, arrived: 0 };
        }
        if tick.seq != seq {
            return false;
        }
        tick.arrived += 1;
        self.members > 1 && tick.arrived == self.members
    }
}

/// The most ticks of a tick group that a socket may wait for at once: a second at 60 frames/s.
const OPEN_TICKS: usize = 64;
/// More rates than any scenario has.
const TICK_GROUPS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn plan() -> Plan {
        let mut publishers: Vec<_> = (1..=5).map(|id| fixtures::publisher(id, 50)).collect();
        publishers[3].rate = Rate { num: 10, den: 1 };
        publishers[4].offset_ns = 7;
        fixtures::plan_of(publishers)
    }

    #[test]
    fn a_tick_is_whole_with_its_last_frame() {
        let mut tracker = TickTracker::new(&plan());
        tracker.open(4, [0, 1, 2].into_iter());
        assert!(!tracker.arrived(4, 0, 9) && !tracker.arrived(4, 2, 9));
        assert!(!tracker.arrived(4, 0, 10), "the next tick may begin before");
        assert!(tracker.arrived(4, 1, 9));
        assert!(!tracker.arrived(4, 1, 10) && tracker.arrived(4, 2, 10));
    }

    #[test]
    fn rhythms_do_not_mix() {
        let mut tracker = TickTracker::new(&plan());
        tracker.open(0, [0, 3, 4].into_iter());
        assert!(!tracker.arrived(0, 0, 0), "one of a group is no tick");
        tracker.open(1, [0, 1, 3, 4].into_iter());
        assert!(
            !tracker.arrived(1, 0, 0) && !tracker.arrived(1, 3, 0) && !tracker.arrived(1, 4, 0)
        );
        assert!(tracker.arrived(1, 1, 0));
        assert!(!tracker.arrived(7, 0, 0), "a socket without rows");
    }

    #[test]
    fn a_tick_too_far_behind_is_given_up() {
        let mut tracker = TickTracker::new(&plan());
        tracker.open(0, [0, 1].into_iter());
        let late = OPEN_TICKS as u32;
        assert!(!tracker.arrived(0, 0, 0) && !tracker.arrived(0, 0, late));
        assert!(!tracker.arrived(0, 1, 0), "its place is taken");
        assert!(tracker.arrived(0, 1, late));
    }

    #[test]
    fn there_are_as_many_ticks_as_the_slowest_has_frames() {
        let groups = TickGroups::of(&plan());
        let ticks = |followed: &[(u32, u32)]| groups.whole_ticks(followed.iter().copied());
        assert_eq!(ticks(&[(0, 100), (1, 90), (2, 100), (3, 20), (4, 100)]), 90);
        assert_eq!(ticks(&[(0, 100), (3, 20)]), 0);
    }
}
