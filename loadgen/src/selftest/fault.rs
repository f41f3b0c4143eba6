//! What the null server does to a frame, by the frame's number: a pure function, so that the truth
//! of a trial is known before it. Must not act.

use std::time::Duration;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every frame is held back this long.
    Delay(Duration),
    /// One frame of so many is held back long, all others briefly.
    Mixture {
        /// The others.
        short: Duration,
        /// The one.
        long: Duration,
        /// Of so many.
        every: u64,
    },
    /// When this frame arrives, nothing moves for a time.
    Stop {
        /// Number of the frame, from 0.
        at: u64,
        /// How long.
        length: Duration,
    },
    /// Of so many frames one is lost, one repeated and one swapped with its successor.
    Mangle {
        /// Of so many; at least 4.
        every: u64,
    },
}

/// What happens to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is sent so long after it came.
    Hold(Duration),
    /// Nothing moves for so long.
    Stop(Duration),
    /// It is lost.
    Drop,
    /// It is sent twice.
    Repeat,
    /// It is sent after the next one.
    Swap,
}

impl Fault {
    /// What happens to the `number`th frame of the server's life, from 0.
    pub fn deed(self, number: u64) -> Deed {
        match self {
            Fault::None => Deed::Hold(Duration::ZERO),
            Fault::Delay(delay) => Deed::Hold(delay),
            Fault::Mixture { short, long, every } => {
                Deed::Hold(if number % every == every - 1 { long } else { short })
            }
            Fault::Stop { at, length } if number == at => Deed::Stop(length),
            Fault::Stop { .. } => Deed::Hold(Duration::ZERO),
            Fault::Mangle { every } => match number % every {
                place if place == every / 4 => Deed::Drop,
                place if place == every / 2 => Deed::Repeat,
                place if place == every / 4 * 3 => Deed::Swap,
                _ => Deed::Hold(Duration::ZERO),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_one_is_lost_one_repeated_and_one_swapped() {
        let deeds: Vec<_> = (0..3000).map(|n| Fault::Mangle { every: 1000 }.deed(n)).collect();
        for deed in [Deed::Drop, Deed::Repeat, Deed::Swap] {
            assert_eq!(deeds.iter().filter(|done| **done == deed).count(), 3, "{deed:?}");
        }
        // The successor of what is swapped is sent as it comes.
        let swap = deeds.iter().position(|deed| *deed == Deed::Swap).unwrap();
        assert_eq!(deeds[swap + 1], Deed::Hold(Duration::ZERO));
    }

    #[test]
    fn a_mixture_has_one_of_so_many() {
        let [short, long] = [1, 50].map(Duration::from_millis);
        let fault = Fault::Mixture { short, long, every: 100 };
        let held = (0..500).filter(|n| fault.deed(*n) == Deed::Hold(long)).count();
        assert_eq!(held, 5);
    }

    #[test]
    fn a_stop_comes_once() {
        let length = Duration::from_secs(1);
        let fault = Fault::Stop { at: 7, length };
        let stops = (0..100).filter(|n| fault.deed(*n) == Deed::Stop(length));
        assert_eq!(stops.collect::<Vec<_>>(), [7]);
    }
}
