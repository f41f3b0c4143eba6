//! The faults of the null server: what it does to each frame is a pure function of the frame's
//! number, so the correct result of a trial is known in advance. Must not act.

use std::time::Duration;

/// A fault of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Every frame is delayed by this much.
    Delay(Duration),
    /// One frame of this many is delayed for long, all others briefly.
    Mixture {
        /// The delay of the others.
        short: Duration,
        /// The delay of the one.
        long: Duration,
        /// The number of frames.
        every: u64,
    },
    /// When this frame arrives, the server stalls for a time.
    Stop {
        /// Number of the frame, from 0.
        at: u64,
        /// The length of the stall.
        length: Duration,
    },
    /// Of this many frames, one is lost, one is duplicated and one is swapped with its successor.
    Mangle {
        /// The number of frames; at least 4.
        every: u64,
    },
}

/// What the server does with one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is sent this long after its arrival.
    Hold(Duration),
    /// The server stalls for this long.
    Stop(Duration),
    /// It is lost.
    Drop,
    /// It is sent twice.
    Repeat,
    /// It is sent after the next one.
    Swap,
}

impl Fault {
    /// What happens to frame `number` since the start of the server, from 0.
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
        // The successor of a swapped frame is sent when it arrives.
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
