//! The conversation with a device: turn off, ask for the configuration, turn on, and what is done
//! when it does not answer or falls silent. A pure machine: time goes in, commands come out. Must
//! not know sockets.

use thiserror::Error;

use super::command::{Command, Wanted};

/// How long a device is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For an answer to a request, in nanoseconds.
    pub answer_ns: u64,
    /// For the next data, in nanoseconds.
    pub silence_ns: u64,
}

/// A conversation.
#[derive(Debug)]
pub struct Dialogue {
    wanted: Wanted,
    patience: Patience,
    state: State,
    /// When the configuration was last asked for while data comes.
    asked_ns: Option<u64>,
    deadline_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many requests for the configuration have been made.
    Asking(u8),
    /// The device was turned on.
    On,
}

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Silent {
    /// It answered none of the requests.
    #[error("the device sends no configuration: check `id`, a device ignores requests for others")]
    NoConfiguration,
    /// Nothing came for too long.
    #[error("the device has sent nothing for `silence_ms`")]
    NoData,
}

/// Between the first two commands: some devices take only one of what comes at once.
const PAUSE_NS: u64 = 100_000_000;
/// Requests for a configuration before a device is given up.
const REQUESTS_MAX: u8 = 3;
/// The least time between two requests for a configuration while data comes.
const ASK_EVERY_NS: u64 = 5_000_000_000;

impl Dialogue {
    /// Begins a conversation: answers what is sent first.
    #[must_use]
    pub fn begin(wanted: Wanted, patience: Patience, now_ns: u64) -> (Self, Command) {
        let deadline_ns = now_ns.saturating_add(PAUSE_NS);
        let state = State::Asking(0);
        (Self { wanted, patience, state, asked_ns: None, deadline_ns }, Command::TurnOff)
    }

    /// A configuration has come.
    pub fn configured(&mut self, now_ns: u64) -> Option<Command> {
        if self.state == State::On {
            return None;
        }
        self.state = State::On;
        self.heard(now_ns);
        Some(Command::TurnOn)
    }

    /// Data has come, whatever it was worth.
    pub fn heard(&mut self, now_ns: u64) {
        if self.state == State::On {
            self.deadline_ns = now_ns.saturating_add(self.patience.silence_ns);
        }
    }

    /// The data asks for another configuration: it announces one, or does not fit.
    pub fn outdated(&mut self, now_ns: u64) -> Option<Command> {
        let was = self.asked_ns.map_or(u64::MAX, |asked_ns| now_ns.saturating_sub(asked_ns));
        if self.state != State::On || was < ASK_EVERY_NS {
            return None;
        }
        self.asked_ns = Some(now_ns);
        Some(Command::Send(self.wanted))
    }

    /// When [`Self::due`] has something to say, at the latest.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    /// What is to be done at this time. A device that has no CFG-3 is asked for CFG-2 in the end.
    ///
    /// # Errors
    /// The device is silent: the conversation is over.
    pub fn due(&mut self, now_ns: u64) -> Result<Option<Command>, Silent> {
        if now_ns < self.deadline_ns {
            return Ok(None);
        }
        match self.state {
            State::On => Err(Silent::NoData),
            State::Asking(REQUESTS_MAX..) => Err(Silent::NoConfiguration),
            State::Asking(requests) => {
                self.state = State::Asking(requests + 1);
                self.deadline_ns = now_ns.saturating_add(self.patience.answer_ns);
                if requests + 1 == REQUESTS_MAX && self.wanted == Wanted::Cfg3 {
                    self.wanted = Wanted::Cfg2;
                }
                Ok(Some(Command::Send(self.wanted)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { answer_ns: 10, silence_ns: 100 };

    #[test]
    fn a_device_that_answers_is_turned_on_once() {
        let (mut dialogue, first) = Dialogue::begin(Wanted::Cfg2, PATIENCE, 0);
        assert_eq!((first, dialogue.due(PAUSE_NS - 1)), (Command::TurnOff, Ok(None)));
        assert_eq!(dialogue.due(PAUSE_NS), Ok(Some(Command::Send(Wanted::Cfg2))));
        let on_ns = PAUSE_NS + 9;
        assert_eq!(dialogue.due(on_ns), Ok(None));
        assert_eq!(dialogue.configured(on_ns), Some(Command::TurnOn));
        assert_eq!(dialogue.configured(on_ns + 1), None);
        assert_eq!((dialogue.due(on_ns + 99), dialogue.deadline_ns()), (Ok(None), on_ns + 100));
        dialogue.heard(on_ns + 99);
        assert_eq!(dialogue.due(on_ns + 198), Ok(None));
        assert_eq!(dialogue.due(on_ns + 199), Err(Silent::NoData));
    }

    #[test]
    fn a_device_without_the_third_configuration_is_asked_for_the_second() {
        let (mut dialogue, _) = Dialogue::begin(Wanted::Cfg3, PATIENCE, 0);
        let due = |dialogue: &mut Dialogue, ns| dialogue.due(PAUSE_NS + ns);
        assert_eq!(due(&mut dialogue, 0), Ok(Some(Command::Send(Wanted::Cfg3))));
        assert_eq!(due(&mut dialogue, 10), Ok(Some(Command::Send(Wanted::Cfg3))));
        dialogue.heard(PAUSE_NS + 15);
        assert_eq!(due(&mut dialogue, 20), Ok(Some(Command::Send(Wanted::Cfg2))));
        assert_eq!(due(&mut dialogue, 30), Err(Silent::NoConfiguration));
    }

    #[test]
    fn a_changed_configuration_is_asked_for_now_and_then() {
        let (mut dialogue, _) = Dialogue::begin(Wanted::Cfg2, PATIENCE, 0);
        assert_eq!(dialogue.outdated(1), None, "it is being asked for");
        dialogue.configured(1);
        assert_eq!(dialogue.outdated(2), Some(Command::Send(Wanted::Cfg2)));
        assert_eq!(dialogue.outdated(3), None);
        assert_eq!(dialogue.outdated(2 + ASK_EVERY_NS), Some(Command::Send(Wanted::Cfg2)));
    }
}
