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
    /// Every frame is lost.
    Silence,
    /// Of this many frames, one is lost, one is duplicated and one is swapped with its successor.
    Mangle {
        /// The number of frames; at least 4.
        every: u64,
    },
}

/// What the server does with one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameAction {
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
    pub fn action(self, number: u64) -> FrameAction {
        match self {
            Fault::None => FrameAction::Hold(Duration::ZERO),
            Fault::Delay(delay) => FrameAction::Hold(delay),
            Fault::Silence => FrameAction::Drop,
            Fault::Mixture { short, long, every } => {
                FrameAction::Hold(if number % every == every - 1 { long } else { short })
            }
            Fault::Stop { at, length } if number == at => FrameAction::Stop(length),
            Fault::Stop { .. } => FrameAction::Hold(Duration::ZERO),
            Fault::Mangle { every } => match number % every {
                place if place == every / 4 => FrameAction::Drop,
                place if place == every / 2 => FrameAction::Repeat,
                place if place == every / 4 * 3 => FrameAction::Swap,
                _ => FrameAction::Hold(Duration::ZERO),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_one_is_lost_one_repeated_and_one_swapped() {
        let actions: Vec<_> = (0..3000).map(|n| Fault::Mangle { every: 1000 }.action(n)).collect();
        for action in [FrameAction::Drop, FrameAction::Repeat, FrameAction::Swap] {
            assert_eq!(actions.iter().filter(|found| **found == action).count(), 3, "{action:?}");
        }
        // The successor of a swapped frame is sent when it arrives.
        let swap = actions.iter().position(|action| *action == FrameAction::Swap).unwrap();
        assert_eq!(actions[swap + 1], FrameAction::Hold(Duration::ZERO));
    }

    #[test]
    fn a_mixture_has_one_of_so_many() {
        let [short, long] = [1, 50].map(Duration::from_millis);
        let fault = Fault::Mixture { short, long, every: 100 };
        let held = (0..500).filter(|n| fault.action(*n) == FrameAction::Hold(long)).count();
        assert_eq!(held, 5);
    }

    #[test]
    fn a_stop_comes_once() {
        let length = Duration::from_secs(1);
        let fault = Fault::Stop { at: 7, length };
        let stops = (0..100).filter(|n| fault.action(*n) == FrameAction::Stop(length));
        assert_eq!(stops.collect::<Vec<_>>(), [7]);
    }
}
