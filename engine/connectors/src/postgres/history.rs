//! History from the table: clients' questions about a topic are taken on by cores, and answered by
//! the bridge's thread over a connection of its own. Owns how many wait. Must not write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam::queue::ArrayQueue;
use gridcast::core::history::store::{HistoryStore, Page, Question, Reply, Row, StoreError};
use gridcast::delivery::doorbell::Wake;
use gridcast::engine::handle::Handle;
use gridcast::feed::epoch::{Epoch, Position};
use gridcast::feed::topic::{Target, Topic};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Error};

use crate::bridge::context::Waker;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;
use crate::postgres::client::{self, BEGIN_TIME, End, failure};
use crate::postgres::rows::kind_of;
use crate::postgres::settings::Settings;

/// Questions that wait for the bridge's thread. The engine has no more than so many under way.
const QUESTIONS_MAX: usize = 16;
/// How long after a failure the next connection is tried.
const PAUSE: Duration = Duration::from_secs(2);

/// What the engine asks, on the threads of its cores.
pub struct Store {
    kept: Vec<Target>,
    waiting: Arc<Waiting>,
    waker: Box<dyn Wake>,
}

/// The other end: what the bridge's thread answers.
pub struct Questions {
    waiting: Arc<Waiting>,
    notify: Arc<Notify>,
}

/// What both ends share.
struct Waiting {
    is_up: AtomicBool,
    questions: ArrayQueue<(Question, Reply)>,
}

/// A store of the messages of these topics, and its other end.
#[must_use]
pub fn pair(kept: &[Target], handle: &Handle) -> (Store, Questions) {
    let (is_up, questions) = (AtomicBool::new(false), ArrayQueue::new(QUESTIONS_MAX));
    let waiting = Arc::new(Waiting { is_up, questions });
    let notify = Arc::new(Notify::new());
    let waker = handle.relay(Box::new(Waker(Arc::clone(&notify))));
    let store = Store { kept: kept.to_vec(), waiting: Arc::clone(&waiting), waker };
    (store, Questions { waiting, notify })
}

impl HistoryStore for Store {
    fn keeps(&self, topic: &Topic) -> bool {
        self.waiting.is_up.load(Ordering::Relaxed)
            && self.kept.iter().any(|kept| kept.matches(topic))
    }

    fn ask(&self, question: Question, reply: Reply) -> Result<(), StoreError> {
        let full = StoreError::new("the store has as many questions as it can answer");
        self.waiting.questions.push((question, reply)).map_err(|_| full)?;
        self.waker.wake();
        Ok(())
    }
}

impl Questions {
    /// Answers questions as long as it is polled. Failures of its connection are told, and are not
    /// the end of the session: writing has a connection of its own.
    pub async fn answer_on(&mut self, common: &Common, settings: &Settings) -> ! {
        loop {
            if let Err(error) = self.answer(common, settings).await {
                tracing::warn!(bridge = common.name, %error, "history is not answered");
            }
            sleep(PAUSE).await;
        }
    }

    /// Answers questions until the connection is lost.
    async fn answer(&mut self, common: &Common, settings: &Settings) -> Result<(), SessionError> {
        let (client, mut end) = client::within(BEGIN_TIME, begin(common, settings)).await?;
        let waiting = Arc::clone(&self.waiting);
        let _up = Up::new(&waiting.is_up);
        loop {
            let (question, reply) = tokio::select! {
                asked = self.next() => asked,
                lost = end.reached() => return Err(lost),
            };
            if reply.is_given_up() {
                continue;
            }
            // The server ends what takes longer; this is for a server that does not answer at all.
            let time = settings.query_time() * 2;
            let page = match timeout(time, page(&client, settings, &question)).await {
                Ok(page) => page,
                Err(_) => return Err(SessionError::new("timeout", "a page of history")),
            };
            let is_lost = page.as_ref().is_err_and(Error::is_closed);
            reply.send(page.map_err(|error| told(&error)));
            if is_lost {
                return Err(SessionError::new("closed", "the connection for history"));
            }
        }
    }

    async fn next(&self) -> (Question, Reply) {
        loop {
            match self.waiting.questions.pop() {
                Some(asked) => return asked,
                None => self.notify.notified().await,
            }
        }
    }
}

/// A connection whose questions take so long at most.
async fn begin(common: &Common, settings: &Settings) -> Result<(Client, End), SessionError> {
    let (client, end) = client::connect(common).await?;
    let limit = format!("SET statement_timeout = {}", settings.query_ms_max);
    client.batch_execute(&limit).await.map_err(failure)?;
    Ok((client, end))
}

/// Says that the store is up while it lives.
struct Up<'a>(&'a AtomicBool);

impl<'a> Up<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn page(client: &Client, settings: &Settings, question: &Question) -> Result<Page, Error> {
    let statement = settings.table.page(question.from_ms, question.to_ms);
    let (after_epoch, after_seq) = question.after.map_or((i64::MIN, i64::MIN), numbers);
    let (before_epoch, before_seq) = question.before.map_or((i64::MAX, i64::MAX), numbers);
    // One row more than asked for tells whether this is the last page.
    let limit = i64::from(question.rows_max) + 1;
    let bytes_max = i64::try_from(question.bytes_max).unwrap_or(i64::MAX);
    let topic = question.topic.as_str();
    let found = client
        .query(
            &statement,
            &[&topic, &after_epoch, &after_seq, &before_epoch, &before_seq, &limit, &bytes_max],
        )
        .await?;
    let total = found.first().map_or(Ok(0), |row| row.try_get::<_, i64>(5))?;
    let is_last = total < limit && found.len() as i64 == total;
    let shown = found.iter().take(question.rows_max as usize);
    let rows = shown.map(row).collect::<Result<_, _>>()?;
    Ok(Page { rows, is_last })
}

fn row(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let time: SystemTime = row.try_get(0)?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (epoch, seq) = (row.try_get::<_, i64>(1)?, row.try_get::<_, i64>(2)?);
    Ok(Row {
        time_ms: since.as_millis() as u64,
        position: Position { epoch: Epoch(epoch.unsigned_abs()), seq: seq.unsigned_abs() },
        kind: kind_of(row.try_get(3)?),
        payload: row.try_get(4)?,
    })
}

/// A position as the table has it; one that no row has is past all of them.
fn numbers(position: Position) -> (i64, i64) {
    let number = |value| i64::try_from(value).unwrap_or(i64::MAX);
    (number(position.epoch.0), number(position.seq))
}

/// What a client may hear.
fn told(error: &Error) -> StoreError {
    let text = match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("57014") => "the store took too long: ask for less",
        _ => "the store could not answer",
    };
    StoreError::new(text)
}
