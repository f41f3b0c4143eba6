//! The STAT word of a PMU, in words. The meaning of the bits is that of the edition of 2011, which
//! left those of 2005 as they were. Must not judge what is to be done with the data.

use serde::{Serialize, Serializer};

/// The word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat(pub u16);

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatWords {
    /// The word itself.
    pub bits: u16,
    /// `good`, `error` (nothing is known of the values), `test` (test values, or none: do not
    /// use) or `bad` (do not use).
    pub data: &'static str,
    /// Whether the PMU is in step with its source of time.
    pub in_sync: bool,
    /// `time`, or `arrival` where a concentrator could not sort by time.
    pub sorted_by: &'static str,
    /// Why the PMU was triggered; none where it was not.
    pub trigger: Option<&'static str>,
    /// Whether the configuration is about to change.
    pub configuration_change: bool,
    /// Whether somebody on the way has changed the data.
    pub modified: bool,
    /// The largest error of the time, as the PMU states it.
    pub time_error_max: &'static str,
    /// For how long the PMU has been out of step, where it is.
    pub unlocked_for: &'static str,
}

impl Stat {
    /// Whether the values are test values, or stand for values that never came.
    #[must_use]
    pub fn is_test_or_absent(self) -> bool {
        self.0 >> 14 == 0b10
    }

    /// Whether the configuration is about to change.
    #[must_use]
    pub fn announces_configuration(self) -> bool {
        self.0 & 1 << 10 != 0
    }

    /// All that it says.
    #[must_use]
    pub fn words(self) -> StatWords {
        let is_set = |bit: u16| self.0 & 1 << bit != 0;
        StatWords {
            bits: self.0,
            data: ["good", "error", "test", "bad"][usize::from(self.0 >> 14)],
            in_sync: !is_set(13),
            sorted_by: if is_set(12) { "arrival" } else { "time" },
            trigger: is_set(11).then(|| TRIGGERS[usize::from(self.0 & 0xF)]),
            configuration_change: self.announces_configuration(),
            modified: is_set(9),
            time_error_max: TIME_ERRORS[usize::from(self.0 >> 6 & 0b111)],
            unlocked_for: UNLOCKED[usize::from(self.0 >> 4 & 0b11)],
        }
    }
}

impl Serialize for Stat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.words().serialize(serializer)
    }
}

const TRIGGERS: [&str; 16] = [
    "manual",
    "low magnitude",
    "high magnitude",
    "phase difference",
    "frequency",
    "rate of change of frequency",
    "reserved",
    "digital",
    "user 8",
    "user 9",
    "user 10",
    "user 11",
    "user 12",
    "user 13",
    "user 14",
    "user 15",
];
const TIME_ERRORS: [&str; 8] =
    ["not stated", "100 ns", "1 us", "10 us", "100 us", "1 ms", "10 ms", "more, or unknown"];
const UNLOCKED: [&str; 4] = ["under 10 s", "10 to 100 s", "100 to 1000 s", "over 1000 s"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_zeros_is_good_data() {
        let words = Stat(0).words();
        assert_eq!((words.data, words.in_sync, words.sorted_by), ("good", true, "time"));
        assert_eq!(
            (words.trigger, words.modified, words.configuration_change),
            (None, false, false)
        );
    }

    #[test]
    fn every_field_is_put_in_words() {
        assert_eq!(Stat(0x0804).words().trigger, Some("frequency"));
        assert_eq!(Stat(0x0805).words().trigger, Some("rate of change of frequency"));
        assert_eq!(Stat(0x4000).words().data, "error");
        assert!(Stat(0x8000).is_test_or_absent() && Stat(0xC000).words().data == "bad");
        assert!(!Stat(0x2000).words().in_sync && Stat(0x1000).words().sorted_by == "arrival");
        assert!(Stat(0x0400).announces_configuration() && Stat(0x0200).words().modified);
        assert_eq!(Stat(0x01C0).words().time_error_max, "more, or unknown");
        assert_eq!(Stat(0x0030).words().unlocked_for, "over 1000 s");
    }
}
