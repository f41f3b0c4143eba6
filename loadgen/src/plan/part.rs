//! The share of a load that one process carries when several hosts share it. Must not know how the
//! hosts communicate.

use serde::{Deserialize, Serialize};

use crate::scenario::scenario::Scenario;

/// One of several equal shares: every `of`th publisher and subscriber, from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The index of the share, from 0.
    pub index: u32,
    /// How many shares there are.
    pub of: u32,
}

impl Default for Part {
    /// The whole load.
    fn default() -> Part {
        Part { index: 0, of: 1 }
    }
}

impl Part {
    /// Whether the publisher or subscriber with this number belongs to this share.
    #[inline]
    pub fn has(self, number: u32) -> bool {
        number % self.of.max(1) == self.index
    }

    /// Whether the share is the whole load.
    pub fn is_whole(self) -> bool {
        self.of <= 1
    }

    /// A scenario at least as large as this share; a host that can carry it can carry the share.
    pub fn of_scenario(self, scenario: &Scenario) -> Scenario {
        let mut share = scenario.clone();
        for group in &mut share.subscribers {
            group.count = group.count.div_ceil(self.of.max(1));
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_disjoint_and_together_everything() {
        for of in 1..5 {
            for number in 0..40 {
                let owners = (0..of).filter(|index| Part { index: *index, of }.has(number));
                assert_eq!(owners.count(), 1, "{number} of {of}");
            }
        }
        assert!((0..9).all(|number| Part::default().has(number)));
    }
}
