//! New time stamps for the recorded frames of one stream, when they are replayed with the present
//! time: recorded stamps are moved to the start of the run, and their distances divided by the
//! speed. All stamps differ, so that a received frame can be identified by its stamp. Pure
//! arithmetic; must not know captures, and reads no clock.

use crate::time::units::SECOND_NS;

/// The stamps of one stream, in units of its TIME_BASE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    time_base: u32,
    /// By frame number: units after the start.
    after: Vec<i64>,
    /// The same in rising order, with the frame numbers.
    seqs: Vec<(i64, u32)>,
}

/// How stamps are shifted.
#[derive(Debug, Clone, Copy)]
pub struct Shift {
    /// Units of FRACSEC in a second.
    pub time_base: u32,
    /// The recorded instant that maps to the start, ns since the Unix epoch.
    pub zero_ns: u64,
    /// The factor that divides distances.
    pub speed: f64,
}

impl Stamps {
    /// The stamps of frames with this SOC and FRACSEC, in the order of their numbers.
    pub fn of(recorded: impl Iterator<Item = (u32, u32)>, shift: Shift) -> Stamps {
        let time_base = shift.time_base.max(1);
        let zero = units_of(shift.zero_ns, time_base);
        let limit = i64::from(time_base) * DISTANCE_S_MAX;
        let after = |(soc, fracsec): (u32, u32)| {
            let passed = i64::from(soc) * i64::from(time_base) + i64::from(fracsec) - zero;
            let after = (passed as f64 / shift.speed.max(f64::MIN_POSITIVE)).round() as i64;
            // A recorded clock may have jumped, so the new value is limited to what the field
            // holds.
            after.clamp(-limit, limit)
        };
        let mut seqs: Vec<(i64, u32)> = recorded.map(after).zip(0..).collect();
        seqs.sort_unstable();
        let mut free = i64::MIN;
        for (after, _) in &mut seqs {
            *after = free.max(*after);
            free = *after + 1;
        }
        let mut by_seq: Vec<(u32, i64)> = seqs.iter().map(|(after, seq)| (*seq, *after)).collect();
        by_seq.sort_unstable();
        Stamps { time_base, after: by_seq.into_iter().map(|(_, after)| after).collect(), seqs }
    }

    /// SOC and FRACSEC of a frame in a run with this start; `None` if there is no such frame.
    pub fn at(&self, seq: u32, start_unix_ns: u64) -> Option<(u32, u32)> {
        let base = i64::from(self.time_base);
        let units = units_of(start_unix_ns, self.time_base) + self.after.get(seq as usize)?;
        let soc = u32::try_from(units.div_euclid(base)).ok()?;
        Some((soc, units.rem_euclid(base) as u32))
    }

    /// The number of the frame with this stamp.
    pub fn seq_of(&self, (soc, fracsec): (u32, u32), start_unix_ns: u64) -> Option<u32> {
        let units = i64::from(soc) * i64::from(self.time_base) + i64::from(fracsec);
        let after = units - units_of(start_unix_ns, self.time_base);
        let at = self.seqs.binary_search_by_key(&after, |(after, _)| *after).ok()?;
        self.seqs.get(at).map(|(_, seq)| *seq).filter(|_| fracsec < self.time_base)
    }
}

/// An instant in units since the Unix epoch, rounded to the nearest.
fn units_of(unix_ns: u64, time_base: u32) -> i64 {
    let second = u128::from(SECOND_NS);
    let units = (u128::from(unix_ns) * u128::from(time_base) + second / 2) / second;
    i64::try_from(units).unwrap_or(i64::MAX / 4)
}

/// An upper bound longer than any replay; only stamps of a clock that jumped are further from the
/// start.
const DISTANCE_S_MAX: i64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START_S: u32 = 1_767_225_600;
    const START_NS: u64 = START_S as u64 * SECOND_NS;

    fn stamps(recorded: &[(u32, u32)], time_base: u32, speed: f64) -> Stamps {
        let shift = Shift { time_base, zero_ns: 100 * SECOND_NS, speed };
        Stamps::of(recorded.iter().copied(), shift)
    }

    #[test]
    fn distances_are_those_of_the_recording() {
        let recorded = [(100, 0), (100, 33_333), (99, 966_667), (101, 500_000)];
        let stamps = stamps(&recorded, 1_000_000, 1.0);
        let found = [0, 1, 2, 3].map(|seq| stamps.at(seq, START_NS).unwrap());
        let moved = |(soc, fracsec): (u32, u32)| (START_S + soc - 100, fracsec);
        assert_eq!(found, recorded.map(moved));
        assert_eq!(stamps.at(4, START_NS), None);
        assert_eq!(stamps.seq_of((START_S - 1, 966_667), START_NS), Some(2));
        assert_eq!(stamps.seq_of((START_S - 1, 966_668), START_NS), None);
        assert_eq!(stamps.seq_of((START_S - 2, 1_966_667), START_NS), None, "said otherwise");
    }

    #[test]
    fn stamps_that_fall_on_one_unit_are_set_apart() {
        let stamps = stamps(&[(100, 0), (100, 1), (100, 2)], 1_000, 100.0);
        let fractions = [0, 1, 2].map(|seq| stamps.at(seq, START_NS).unwrap().1);
        assert_eq!(fractions, [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn whatever_was_recorded_each_stamp_is_of_one_frame(
            recorded in prop::collection::vec((any::<u32>(), 0u32..1 << 24), 1..60),
            time_base in 1u32..1 << 24,
            speed in 1.0f64..100.0,
        ) {
            let stamps = stamps(&recorded, time_base, speed);
            for seq in 0..recorded.len() as u32 {
                let (soc, fracsec) = stamps.at(seq, START_NS).unwrap();
                prop_assert!(fracsec < time_base);
                prop_assert_eq!(stamps.seq_of((soc, fracsec), START_NS), Some(seq));
            }
        }
    }
}
