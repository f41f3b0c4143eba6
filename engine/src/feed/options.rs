//! What a subscriber may choose: where to start, what to do when it lags, which rate. Owns the
//! words; `log` and `delivery` act on them.

use crate::feed::epoch::{Epoch, Position};
use crate::settings::nearest::{clip, hint};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use thiserror::Error;

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// Only what comes from now on.
    #[default]
    Latest,
    /// The newest retained frame first.
    Last,
    /// The oldest retained frame first.
    Oldest,
    /// The frame after this one.
    After {
        /// The life of the log the client saw.
        epoch: Epoch,
        /// The position of the last frame the client has.
        seq: u64,
    },
}

/// What happens while a socket takes bytes slower than they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every frame is sent, until the lag policy speaks.
    #[default]
    Lossless,
    /// Only the newest frame is sent: older ones are conflated.
    Latest,
}

/// What happens to a lossless subscriber that retention has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LagPolicy {
    /// The connection is closed with 4409.
    #[default]
    Disconnect,
    /// It goes on with the oldest retained frame, and is told of the gap.
    SkipToOldest,
    /// It goes on with the newest frame, and is told of the gap.
    SkipToLatest,
}

/// The choices of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where it starts.
    pub from: From,
    /// What happens while it lags.
    pub mode: Mode,
    /// Where set, only the newest frame of each topic, at most so often.
    pub rate: Option<Rate>,
    /// What happens when it is lapped; `None` leaves it to the feed's class.
    pub lag: Option<LagPolicy>,
}

/// Why `mode` and `lag` do not combine.
pub const LATEST_AND_LAG: &str = "`lag` belongs to mode=lossless: mode=latest is never lapped";

/// The highest rate, frames a second. A PMU sends 120; above a thousand a timer is no better than
/// every frame.
pub const RATE_PER_S_MAX: u16 = 1000;

/// Frames of one topic in a second, at most. A whole number, so that all who ask for about the same
/// share one feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(NonZeroU16);

/// A number that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a whole number from 1 to {RATE_PER_S_MAX} frames a second")]
pub struct RateError;

impl Rate {
    /// A rate of `per_s` frames a second.
    ///
    /// # Errors
    /// [`RateError`] beyond the range.
    pub fn new(per_s: u64) -> Result<Self, RateError> {
        let per_s = u16::try_from(per_s).ok().filter(|per_s| *per_s <= RATE_PER_S_MAX);
        per_s.and_then(NonZeroU16::new).map(Self).ok_or(RateError)
    }

    /// Frames a second.
    #[must_use]
    pub const fn per_s(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        // The standard parser would also take a sign.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(RateError);
        }
        Self::new(text.parse().map_err(|_| RateError)?)
    }
}

/// A word that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown value `{word}`: {hint}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What to write instead.
    pub hint: String,
}

impl FromStr for From {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        if let Ok(Position { epoch, seq }) = text.parse() {
            return Ok(Self::After { epoch, seq });
        }
        match text {
            "latest" => Ok(Self::Latest),
            "last" => Ok(Self::Last),
            "oldest" => Ok(Self::Oldest),
            _ => Err(unknown(text, &["latest", "last", "oldest", "{epoch}-{seq}"])),
        }
    }
}

macro_rules! words {
    ($name:ident: $($word:literal => $variant:ident),+) => {
        impl $name {
            /// Every word of the wire and of the settings.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of this choice.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(unknown(text, Self::WORDS)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
words!(Mode: "lossless" => Lossless, "latest" => Latest);
words!(LagPolicy:
    "disconnect" => Disconnect, "skip-to-oldest" => SkipToOldest, "skip-to-latest" => SkipToLatest);

fn unknown(word: &str, known: &[&str]) -> UnknownWord {
    let word = clip(word);
    UnknownWord { hint: hint(&word, known), word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for word in Mode::WORDS {
            assert_eq!(word.parse::<Mode>().unwrap().to_string(), *word);
        }
        for word in LagPolicy::WORDS {
            assert_eq!(word.parse::<LagPolicy>().unwrap().to_string(), *word);
        }
        assert_eq!("k3-41".parse(), Ok(From::After { epoch: Epoch(723), seq: 41 }));
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_nearest() {
        let error = "skip-to-lates".parse::<LagPolicy>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown value `skip-to-lates`: did you mean `skip-to-latest`?"
        );
        let error = "zz".parse::<From>().unwrap_err();
        assert!(error.to_string().ends_with("known are latest, last, oldest, {epoch}-{seq}"));
    }

    #[test]
    fn a_rate_is_a_whole_number_within_its_range() {
        for (text, per_s) in [("1", 1), ("60", 60), ("1000", 1000)] {
            assert_eq!(text.parse::<Rate>().map(Rate::per_s), Ok(per_s));
        }
        for text in ["0", "1001", "-1", "+1", "1.0", "", "65537", "99999999999999999999"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }
}
