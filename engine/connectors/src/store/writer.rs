//! Messages on their way into a store: they become rows, wait, and are written in batches, one at a
//! time. Owns what was not stored yet, over all sessions. Must not know any store.

use std::future::Future;
use std::pin::pin;

use bytes::Bytes;
use gridcast::feed::epoch::Position;
use gridcast::frame::Kind;
use tokio::time::{sleep, timeout};

use crate::bridge::context::{Context, Out, stopped};
use crate::bridge::supervisor::SessionError;
use crate::store::pace::Pace;
use crate::store::reasons::Reasons;
use crate::store::spill::{Spill, Weighed};
use crate::store::trial::Trial;

/// A message that is to be stored.
#[derive(Clone, Debug)]
pub struct Message {
    /// When it was published, ns of UTC since 1970. No two have the same.
    pub time_ns: u64,
    /// Where.
    pub topic: String,
    /// Its place there.
    pub position: Position,
    /// Text or binary.
    pub kind: Kind,
    /// As published.
    pub payload: Bytes,
}

/// Makes rows of messages.
pub trait Intake {
    /// What the store gets.
    type Row: Weighed;

    /// The row of a message.
    ///
    /// # Errors
    /// A word that says why this store has no place for it.
    fn row(&mut self, message: Message) -> Result<Self::Row, &'static str>;
}

/// A store that is connected.
pub trait Store<R> {
    /// Writes rows: all are stored or the answer says which is not the case.
    fn write(&mut self, rows: &[R]) -> impl Future<Output = Result<Written, SessionError>>;

    /// Whether a row is there that was being written when the connection was lost. Stores in which
    /// writing twice changes nothing need not look.
    fn holds(&mut self, _row: &R) -> impl Future<Output = Result<bool, SessionError>> {
        async { Ok(false) }
    }
}

/// What became of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// All are stored.
    Stored,
    /// One of them at least is wrong for this store, and will be the next time as well: why.
    Refused(String),
}

/// See the file header.
#[derive(Debug)]
pub struct Writer<I: Intake> {
    pace: Pace,
    waiting: Waiting<I>,
    /// The batch that is being written: what of it is not stored.
    batch: Vec<I::Row>,
    /// How many of its first rows were under way when the connection was lost.
    under_way: usize,
}

/// What came and waits.
#[derive(Debug)]
struct Waiting<I: Intake> {
    intake: I,
    spill: Spill<I::Row>,
    /// The time of the newest row.
    time_ns: u64,
    reasons: Reasons,
}

impl<I: Intake> Writer<I> {
    /// Nothing waits yet.
    pub fn new(intake: I, pace: Pace) -> Self {
        let spill = Spill::new(pace.spill_bytes_max);
        let waiting = Waiting { intake, spill, time_ns: 0, reasons: Reasons::default() };
        Self { pace, waiting, batch: Vec::new(), under_way: 0 }
    }

    /// Writes what is published, batch by batch, until the store fails or the bridge is to end.
    /// Then all that is there is written.
    ///
    /// # Errors
    /// Why the store failed. What was not stored is kept for the next session.
    pub async fn run(
        &mut self,
        store: &mut impl Store<I::Row>,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        self.settle(store, context).await?;
        loop {
            self.write_batch(store, context).await?;
            let goes_on = self.gather(context).await;
            self.cut_batch();
            if !goes_on && self.batch.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes in what is published while there is no store to write it to. Never ends.
    pub async fn wait(&mut self, context: &mut Context) {
        while self.waiting.spill.has_room() {
            let out = context.next_out().await;
            self.waiting.take_in(out, context);
        }
        std::future::pending().await
    }

    /// Counts what was not stored until the end.
    pub fn end(&mut self, context: &Context) {
        let left = self.batch.len() + self.waiting.spill.len();
        if left > 0 {
            context.counters().dropped("stopped", left as u64);
            let bridge = &context.common().name;
            tracing::warn!(bridge, left, "messages are not stored: the engine stopped before");
        }
    }

    fn cut_batch(&mut self) {
        let Pace { rows_max, bytes_max, .. } = self.pace;
        self.batch = self.waiting.spill.take(rows_max, bytes_max);
    }

    /// Rows that were under way when the connection was lost may be stored: then they are done.
    async fn settle(
        &mut self,
        store: &mut impl Store<I::Row>,
        context: &Context,
    ) -> Result<(), SessionError> {
        let last = self.under_way.checked_sub(1).and_then(|last| self.batch.get(last));
        if let Some(last) = last {
            let looked = timeout(self.pace.write_time(), store.holds(last)).await;
            if looked.map_err(|_| self.pace.too_slow("a look for a row"))?? {
                self.stored(self.under_way, context);
            }
        }
        self.under_way = 0;
        Ok(())
    }

    /// Waits for a row, then for as many as a batch holds or as long as a row may wait. Answers
    /// whether the bridge goes on: where not, it has taken what is there.
    async fn gather(&mut self, context: &mut Context) -> bool {
        let Pace { rows_max, bytes_max, .. } = self.pace;
        let waiting = &mut self.waiting;
        let mut stop = pin!(stopped(context.stopping()));
        let mut due = pin!(sleep(self.pace.wait()));
        let mut is_first = waiting.spill.is_empty();
        while !waiting.spill.fills(rows_max, bytes_max) {
            tokio::select! {
                out = context.next_out() => waiting.take_in(out, context),
                () = &mut due, if !is_first => return true,
                () = &mut stop => {
                    waiting.take_all(context);
                    return false;
                }
            }
            if std::mem::replace(&mut is_first, waiting.spill.is_empty()) && !is_first {
                due.set(sleep(self.pace.wait()));
            }
        }
        true
    }

    /// Writes the batch, in parts where it is refused, until the rows at fault stand alone.
    async fn write_batch(
        &mut self,
        store: &mut impl Store<I::Row>,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        let mut trial = Trial::of(self.batch.len());
        while !self.batch.is_empty() {
            let count = trial.rows(self.batch.len());
            self.under_way = count;
            let written = self.write_part(store, count, context).await?;
            self.under_way = 0;
            match written {
                Written::Stored => {
                    trial.stored();
                    self.stored(count, context);
                }
                Written::Refused(reason) if trial.refused(count) => self.refused(&reason, context),
                Written::Refused(_) => {}
            }
        }
        Ok(())
    }

    /// Writes the first rows of the batch. Meanwhile others come in.
    async fn write_part(
        &mut self,
        store: &mut impl Store<I::Row>,
        count: usize,
        context: &mut Context,
    ) -> Result<Written, SessionError> {
        let time = self.pace.write_time();
        let mut write = pin!(timeout(time, store.write(&self.batch[..count])));
        let written = loop {
            tokio::select! {
                written = &mut write => break written,
                out = context.next_out(), if self.waiting.spill.has_room() => {
                    self.waiting.take_in(out, context);
                }
            }
        };
        written.unwrap_or_else(|_| Err(self.pace.too_slow("a batch")))
    }

    fn stored(&mut self, count: usize, context: &Context) {
        for row in self.batch.drain(..count) {
            context.counters().sent_out.add(row.payload_bytes());
        }
    }

    /// The first row is at fault.
    fn refused(&mut self, reason: &str, context: &Context) {
        self.batch.drain(..1);
        context.counters().dropped("refused", 1);
        self.waiting.tell(reason, context);
    }
}

impl<I: Intake> Waiting<I> {
    fn take_in(&mut self, out: Out, context: &Context) {
        // What was missed is counted by who told it.
        let Out::Message { topic, kind, stamp, payload } = out else { return };
        // Rows of one series are told apart by their time alone: no two rows have the same.
        self.time_ns = context.utc_ns(stamp.published_ns).max(self.time_ns + 1);
        let time_ns = self.time_ns;
        let message = Message { time_ns, topic, position: stamp.position, kind, payload };
        match self.intake.row(message) {
            Ok(row) => self.spill.push(row),
            Err(reason) => {
                context.counters().dropped(reason, 1);
                self.tell(reason, context);
            }
        }
    }

    /// Takes in what is there, as far as there is room.
    fn take_all(&mut self, context: &mut Context) {
        while self.spill.has_room()
            && let Some(out) = context.poll_out()
        {
            self.take_in(out, context);
        }
    }

    fn tell(&mut self, reason: &str, context: &Context) {
        if self.reasons.is_new(reason) {
            let bridge = &context.common().name;
            tracing::warn!(bridge, reason, "messages are not stored; told once for each reason");
        }
    }
}
