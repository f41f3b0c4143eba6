//! How short memory for connections is: budgets, and the level that follows from the fullest of
//! them. Must not measure, nor give anything up (that is `core`).
//!
//! # The order
//! 1. `Calm`: nothing is given up.
//! 2. `Conflate`, from seven eighths of a budget: whoever lags and may lose frames (`mode=latest`,
//!    or a lag policy of `skip-*`) goes on with the newest frame and is told of the gap.
//! 3. `Disconnect`, from the whole budget: besides, nothing new is taken on, and whoever owes most
//!    is disconnected (4503, or 503) until seven eighths are in use.
//!
//! A level is left only well below where it was entered, so that it does not flutter.

/// How much is given up. See the file header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Calm,
    /// Frames of those who may lose some.
    Conflate,
    /// Connections.
    Disconnect,
}

/// Bytes in use of one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub held_bytes: u64,
    /// The budget; 0 sets none.
    pub bytes_max: u64,
}

impl Usage {
    /// The share in use, in sixteenths of the budget, rounded down.
    fn sixteenths(self) -> u64 {
        self.held_bytes.saturating_mul(16).checked_div(self.bytes_max).unwrap_or(0)
    }

    /// What must go once connections are ended: all beyond seven eighths.
    fn excess_bytes(self) -> u64 {
        if self.bytes_max == 0 {
            return 0;
        }
        self.held_bytes.saturating_sub(self.bytes_max / 8 * 7)
    }

    /// The part of the excess that is for one holder to give up.
    pub fn excess_share(self, own_bytes: u64) -> u64 {
        let share = own_bytes as f64 / self.held_bytes.max(1) as f64;
        (self.excess_bytes() as f64 * share.min(1.0)).ceil() as u64
    }
}

impl Level {
    /// The level after this one, for the fullest of all budgets.
    #[must_use]
    pub fn next(self, usages: &[Usage]) -> Self {
        let fullest = usages.iter().map(|usage| usage.sixteenths()).max().unwrap_or(0);
        let entered = match fullest {
            0..14 => Self::Calm,
            14..16 => Self::Conflate,
            _ => Self::Disconnect,
        };
        let kept = match self {
            Self::Disconnect if fullest >= 15 => Self::Disconnect,
            Self::Disconnect | Self::Conflate if fullest >= 12 => Self::Conflate,
            _ => Self::Calm,
        };
        entered.max(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(held_bytes: u64) -> Usage {
        Usage { held_bytes, bytes_max: 1600 }
    }

    #[test]
    fn levels_are_entered_in_order_and_left_later() {
        let mut level = Level::Calm;
        for (held, expected) in [
            (1399, Level::Calm),
            (1400, Level::Conflate),
            (1200, Level::Conflate),
            (1600, Level::Disconnect),
            (1500, Level::Disconnect),
            (1499, Level::Conflate),
            (1199, Level::Calm),
            (9999, Level::Disconnect),
            (0, Level::Calm),
        ] {
            level = level.next(&[usage(held)]);
            assert_eq!(level, expected, "{held}");
        }
    }

    #[test]
    fn the_fullest_budget_decides_and_one_of_zero_is_none() {
        let none = Usage { held_bytes: u64::MAX, bytes_max: 0 };
        assert_eq!(Level::Calm.next(&[none, usage(1)]), Level::Calm);
        assert_eq!(Level::Calm.next(&[none, usage(1600)]), Level::Disconnect);
        assert_eq!((none.excess_bytes(), usage(1600).excess_bytes()), (0, 200));
        assert_eq!((usage(1600).excess_share(400), usage(1600).excess_share(0)), (50, 0));
    }

    proptest! {
        #[test]
        fn fuller_is_never_calmer(level in 0..3_u8, less in 0..4000_u64, more in 0..4000_u64) {
            let level = [Level::Calm, Level::Conflate, Level::Disconnect][usize::from(level)];
            let (less, more) = (less.min(more), less.max(more));
            prop_assert!(level.next(&[usage(less)]) <= level.next(&[usage(more)]));
        }

        #[test]
        fn once_the_excess_is_gone_nobody_else_is_ended(held in 1600..9999_u64) {
            let left = held - usage(held).excess_bytes();
            prop_assert!(Level::Disconnect.next(&[usage(left)]) < Level::Disconnect);
        }
    }
}
