//! What one run does, resolved to single sockets: a plain value, made from a scenario and a seed.
//! Must not read clocks, files or sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Marks this run's fixed-size payloads.
    pub run_id: u32,
    /// Seed of jitter, waveforms, sampling and faults.
    pub seed: u64,
    /// Where the measured server listens.
    pub target: SocketAddr,
    /// Value of the `Host` header.
    pub host: String,
    /// Published and verified, but not in the latency histograms.
    pub warmup: Duration,
    /// The measured phase.
    pub measure: Duration,
    /// Longest wait for frames still on the way after the last publish.
    pub drain: Duration,
    /// Sockets opened per second, all threads together.
    pub connect_rate: u32,
    /// The publishers.
    pub publishers: Vec<PublisherPlan>,
    /// Threads that publish.
    pub publisher_threads: usize,
    /// One entry per subscriber socket, in ramp order.
    pub subscribers: Vec<SubscriberPlan>,
    /// Threads that subscribe, each with a descriptor table of its own.
    pub subscriber_threads: usize,
    /// Subscriber classes; `SubscriberPlan::class` indexes this.
    pub classes: Vec<ClassPlan>,
    /// One of this many frames is sampled for the fan-out spread.
    pub spread_every: u32,
    /// CPUs the generator's threads are pinned to.
    pub cpus: Option<Vec<usize>>,
    /// A fault: some sockets vanish at an instant.
    pub kill: Option<KillPlan>,
}

/// Frames per second as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Frames per `den` seconds.
    pub num: u32,
    /// Seconds.
    pub den: u32,
}

/// One publisher.
#[derive(Debug, Clone)]
pub struct PublisherPlan {
    /// C37.118 IDCODE, and the key frames are recognised by.
    pub id: u16,
    /// Topic in words.
    pub topic: String,
    /// Request path, already percent-encoded.
    pub path: String,
    /// Reporting rate.
    pub rate: Rate,
    /// Phase behind the grid, ns.
    pub offset_ns: u64,
    /// Largest deterministic jitter, ns.
    pub jitter_ns: u64,
    /// What is sent.
    pub payload: Payload,
}

/// What a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A C37.118.2-2011 data frame of 92 bytes.
    C37118,
    /// The same values as short JSON, about 240 bytes.
    Json,
    /// A stamped binary block.
    Fixed {
        /// Size of the block.
        bytes: u32,
    },
}

/// One subscriber socket.
#[derive(Debug, Clone)]
pub struct SubscriberPlan {
    /// Request path, already percent-encoded.
    pub path: String,
    /// Local address to connect from.
    pub source: Option<IpAddr>,
    /// Index into `Plan::classes`.
    pub class: u16,
    /// Which publishers it must hear.
    pub follows: Follows,
}

/// Which publishers a subscriber must hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Every publisher: a wall.
    All,
    /// One publisher, by index into `Plan::publishers`.
    One(u32),
}

/// A class of subscribers reported together.
#[derive(Debug, Clone)]
pub struct ClassPlan {
    /// Name in the report.
    pub name: String,
    /// How its sockets read.
    pub kind: ClassKind,
}

/// How a subscriber reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassKind {
    /// At once.
    Healthy,
    /// Paced.
    Slow {
        /// Bytes read per second.
        bytes_per_s: u64,
    },
    /// Never after the handshake.
    Stalled,
}

/// Sockets that vanish at an instant.
#[derive(Debug, Clone, Copy)]
pub struct KillPlan {
    /// After the start of the measured phase.
    pub at: Duration,
    /// Share of the subscriber sockets, 0 to 1.
    pub subscriber_fraction: f64,
    /// How many publishers, the first ones of the plan.
    pub publishers: u32,
}
