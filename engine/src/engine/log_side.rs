//! The log's side of an engine whose publishes go through one: what was submitted is taken here,
//! and what the log says is applied. Owns that everybody who waits is told. Must not know which log
//! it is, nor block a core.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::core::brake::Brake;
use crate::core::shared::Shared;
use crate::core::submission::{LogState, Refused, Submitting};
use crate::delivery::doorbell::Wake;
use crate::feed::domain::{Applied, ApplyError, LogBatch, LogFrame};
use crate::feed::epoch::Epoch;
use crate::feed::gap::GapReason;
use crate::feed::log::interruption::Loss;
use crate::feed::positions::{BATCH_FRAMES_MAX, in_log};

/// Why no log can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The engine publishes by itself.
    #[error("this engine was not started for a log")]
    Local,
    /// It has one.
    #[error("a log is attached to this engine already")]
    Attached,
}

/// See the file header. Dropped, publishers are refused from then on.
pub struct LogSide {
    shared: Arc<Shared>,
    clock: Clock,
    brake: Mutex<Brake>,
}

impl fmt::Debug for LogSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSide").field("submission", &self.shared.submission).finish()
    }
}

/// Messages of clients that the log takes as one.
#[derive(Debug)]
pub struct Submitted {
    /// In the order of their index.
    pub frames: Vec<LogFrame>,
    /// Bytes of their payloads and topics.
    pub bytes: usize,
    /// Stands for whoever waits for them.
    pub ticket: BatchTicket,
}

/// Whoever waits for some messages. Dropped, they are refused.
#[must_use = "those who wait are refused when it is dropped"]
pub struct BatchTicket {
    shared: Arc<Shared>,
    /// None once they were told.
    number: Option<u64>,
}

impl fmt::Debug for BatchTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchTicket").field(&self.number).finish()
    }
}

impl BatchTicket {
    fn refuse(&mut self, reason: Refused) {
        if let Some(number) = self.number.take() {
            self.shared.refuse(number, reason);
        }
    }
}

impl Drop for BatchTicket {
    fn drop(&mut self) {
        self.refuse(Refused::Unacknowledged);
    }
}

impl LogSide {
    /// The log's side of the engine that `shared` is of. `wake` is called when messages wait.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(
        shared: &Arc<Shared>,
        clock: Clock,
        wake: Box<dyn Wake>,
    ) -> Result<Self, AttachError> {
        let log = shared.submission.log().ok_or(AttachError::Local)?;
        if !log.attach(wake) {
            return Err(AttachError::Attached);
        }
        Ok(Self { shared: Arc::clone(shared), clock, brake: Mutex::default() })
    }

    // ---- out: what was submitted

    /// The next messages for the log, the oldest first: at most so many, and so many bytes, but at
    /// least one; none while none waits. A message's index here is its index in the position that
    /// it gets, so all of them are one message of the log, in this order.
    #[must_use]
    pub fn take_submitted(&self, frames_max: usize, bytes_max: usize) -> Option<Submitted> {
        let batch = self.log()?.take(frames_max.min(BATCH_FRAMES_MAX), bytes_max)?;
        let ticket = BatchTicket { shared: Arc::clone(&self.shared), number: Some(batch.number) };
        Some(Submitted { frames: batch.frames, bytes: batch.bytes, ticket })
    }

    /// The log has acknowledged them as its message `stream_sequence`. May come before that is
    /// [applied](Self::apply), or after.
    pub fn complete(&self, mut ticket: BatchTicket, epoch: Epoch, stream_sequence: u64) {
        if let Some(number) = ticket.number.take() {
            self.shared.complete(number, epoch, stream_sequence);
        }
    }

    /// They are not going to be acknowledged in time, or never were taken.
    pub fn refuse(&self, mut ticket: BatchTicket, reason: Refused) {
        ticket.refuse(reason);
    }

    /// True once clients have waited as long as they may.
    #[must_use]
    pub fn is_refusing(&self) -> bool {
        self.log().is_none_or(|log| log.is_refusing(self.clock.now_ns()))
    }

    /// Messages and bytes that were submitted and not answered yet.
    #[must_use]
    pub fn in_flight(&self) -> (u64, u64) {
        self.log().map_or((0, 0), Submitting::in_flight)
    }

    // ---- in: what the log says

    /// Publishes what message `stream_sequence` of the log carries. Sequences increase over the
    /// whole domain; what was applied before changes nothing, so after
    /// [`OverBudget`](ApplyError::OverBudget) the same message is applied again, a moment later.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub fn apply(
        &self,
        stream_sequence: u64,
        frames: &Arc<[LogFrame]>,
    ) -> Result<Applied, ApplyError> {
        let batch = LogBatch { sequence: stream_sequence, frames: Arc::clone(frames) };
        let mut brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ns = self.clock.now_ns();
        self.shared.apply(&batch, now_ns, |behind| brake.pull(behind))
    }

    /// True while a core is too far behind with what was applied: the next message waits.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.brake.lock().unwrap_or_else(PoisonError::into_inner).is_on()
    }

    /// The messages up to this one that were not applied never will be: every follower is told.
    pub fn lost(&self, to_sequence: u64) {
        let position = in_log(to_sequence, BATCH_FRAMES_MAX - 1);
        let loss = Loss::up_to(position, None, GapReason::Expired);
        self.shared.registry.lose(to_sequence, loss, self.clock.now_ns());
    }

    /// The epoch of the domain. Another one than before is told to every follower, and sequences
    /// may begin anew.
    pub fn set_epoch(&self, epoch: Epoch) {
        if epoch != self.epoch() {
            self.shared.registry.begin_epoch(epoch, self.clock.now_ns());
        }
    }

    /// The epoch of the domain.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.registry.epoch()
    }

    /// The message that was applied last; 0 before the first.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.shared.registry.domain().map_or(0, |domain| domain.applied())
    }

    // ---- state

    /// Takes in how the log is.
    pub fn set_state(&self, state: LogState) {
        if let Some(log) = self.log() {
            log.set_state(state, self.clock.now_ns());
            self.shared.wake_all();
        }
    }

    /// True once the engine drains or has stopped.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    fn log(&self) -> Option<&Submitting> {
        self.shared.submission.log()
    }
}

impl Drop for LogSide {
    fn drop(&mut self) {
        self.set_state(LogState::Refusing);
    }
}
