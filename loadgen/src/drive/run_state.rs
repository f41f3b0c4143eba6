//! The state that all threads of one run share: the plan, the start instant once it is known, and
//! the marks of the phases. Must not act by itself.

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
pub struct RunState<'r> {
    /// The plan.
    pub plan: &'r Plan,
    /// Creates TLS sessions, if they are planned.
    pub tls: Option<TlsClient>,
    /// Counters for display and sampling.
    pub progress: &'r Progress,
    /// Publishers and start instant; set once all sockets are open.
    pub publisher_index: OnceLock<PublisherIndex>,
    /// The number of subscriber threads whose sockets are open or given up.
    pub ramped: AtomicUsize,
    /// The number of publisher threads that have published everything.
    pub published: AtomicUsize,
    /// Nothing more will be published, so subscribers may report that they have everything.
    pub draining: AtomicBool,
    /// The number of subscriber threads that have received everything that was published.
    pub drained: AtomicUsize,
    /// Every thread must stop now.
    pub finish: AtomicBool,
}

impl<'r> RunState<'r> {
    /// The state of a run that has not begun.
    pub fn new(plan: &'r Plan, progress: &'r Progress) -> Result<RunState<'r>, TlsError> {
        Ok(RunState {
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

    /// Whether every thread must stop.
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

    /// The planned fault of the instrument, once its instant has come.
    pub fn kill_due(&self, now_ns: u64) -> Option<KillPlan> {
        let kill = self.plan.kill?;
        let (measured_from, _) = self.measured_ns(self.publisher_index.get()?);
        (now_ns >= measured_from + nanoseconds(kill.at)).then_some(kill)
    }

    /// The largest message a server may send in this run.
    pub fn message_bytes_max(&self) -> usize {
        let payloads = self.plan.publishers.iter().map(|publisher| publisher.payload);
        let longest = payloads.map(payload::bytes_max).max().unwrap_or(0);
        match self.plan.dialect.has_protocol() {
            // A payload grows at most by this factor inside a JSON string.
            true => BROKER_MESSAGE_BYTES.max(2 * longest + ENVELOPE_BYTES_MAX),
            false => longest.max(MESSAGE_BYTES_MIN),
        }
    }
}

/// Messages of others up to this size are counted; longer ones break the socket.
const MESSAGE_BYTES_MIN: usize = 64 * 1024;
/// The largest message of a broker, which may put many packets into one message.
const BROKER_MESSAGE_BYTES: usize = 1 << 20;
/// The bytes around a payload: names of a topic and an event, and keys.
const ENVELOPE_BYTES_MAX: usize = 4096;

/// The close reason of sockets that were reset on purpose.
pub const KILLED: &str = "killed";
