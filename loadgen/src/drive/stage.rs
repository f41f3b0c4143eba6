//! What all threads of one run share: the plan, the start instant once it is known, and the marks
//! of the phases. Must not do anything itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::codec::payload;
use crate::observe::meter::Meter;
use crate::observe::progress::Progress;
use crate::os::tls::{TlsClient, TlsError};
use crate::plan::plan::Plan;
use crate::receive::stamp::PublisherIndex;
use crate::scenario::kill::KillPlan;
use crate::time::units::nanoseconds;

/// Shared by the threads of a run.
#[derive(Debug)]
pub struct Stage<'r> {
    /// What to do.
    pub plan: &'r Plan,
    /// Makes encrypted sessions, where they are planned.
    pub tls: Option<TlsClient>,
    /// What the outside sees.
    pub progress: &'r Progress,
    /// Publishers and start instant; set once all sockets are open.
    pub publisher_index: OnceLock<PublisherIndex>,
    /// Subscriber threads whose sockets are open, or given up.
    pub ramped: AtomicUsize,
    /// Publisher threads that have published everything.
    pub published: AtomicUsize,
    /// Nothing more will be published: subscribers may tell when they have it all.
    pub draining: AtomicBool,
    /// Subscriber threads that have received everything that was published.
    pub drained: AtomicUsize,
    /// Every thread ends now.
    pub finish: AtomicBool,
}

impl<'r> Stage<'r> {
    /// The stage of a run that has not begun.
    pub fn new(plan: &'r Plan, progress: &'r Progress) -> Result<Stage<'r>, TlsError> {
        Ok(Stage {
            plan,
            tls: plan.tls.as_ref().map(TlsClient::new).transpose()?,
            progress,
            publisher_index: OnceLock::new(),
            ramped: AtomicUsize::new(0),
            published: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            drained: AtomicUsize::new(0),
            finish: AtomicBool::new(false),
        })
    }

    /// Whether every thread shall end.
    pub fn is_finished(&self) -> bool {
        self.finish.load(Ordering::Acquire)
    }

    /// The measured phase on the monotonic clock, ns.
    pub fn measured_ns(&self, publisher_index: &PublisherIndex) -> (u64, u64) {
        let from = publisher_index.start_ns() + nanoseconds(self.plan.warmup);
        (from, from + nanoseconds(self.plan.measure))
    }

    /// A thread's meter of this run.
    pub fn meter(&self, publisher_index: &PublisherIndex) -> Meter {
        Meter::new(publisher_index.start_ns(), self.measured_ns(publisher_index))
    }

    /// The fault of the plan, once its instant has come.
    pub fn kill_due(&self, now_ns: u64) -> Option<KillPlan> {
        let kill = self.plan.kill?;
        let (measured_from, _) = self.measured_ns(self.publisher_index.get()?);
        (now_ns >= measured_from + nanoseconds(kill.at)).then_some(kill)
    }

    /// Largest message a server may send in this run.
    pub fn message_bytes_max(&self) -> usize {
        let payloads = self.plan.publishers.iter().map(|publisher| publisher.payload);
        let longest = payloads.map(payload::bytes_max).max().unwrap_or(0);
        match self.plan.dialect.is_spoken() {
            // In a string of JSON a payload is at most this much longer.
            true => BROKER_MESSAGE_BYTES.max(2 * longest + ENVELOPE_BYTES_MAX),
            false => longest.max(MESSAGE_BYTES_MIN),
        }
    }
}

/// Foreign messages up to this size are counted, longer ones break the socket.
const MESSAGE_BYTES_MIN: usize = 64 * 1024;
/// Brokers put as many packets into a message as they have.
const BROKER_MESSAGE_BYTES: usize = 1 << 20;
/// What is around a payload: names of a topic and an event, and keys.
const ENVELOPE_BYTES_MAX: usize = 4096;

/// The reason of sockets that vanished on purpose.
pub const KILLED: &str = "killed";
