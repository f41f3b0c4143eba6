//! The layout of a run on its host: threads, CPUs, local addresses. Must not decide it: `budget`
//! does.

use std::net::IpAddr;

/// The layout of a run on its host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// Threads that share the subscribers.
    pub subscriber_threads: usize,
    /// Threads that share the publishers.
    pub publisher_threads: usize,
    /// CPUs the generator is pinned to.
    pub generator_cpus: Option<Vec<usize>>,
    /// Cores of the embedded engine; 0 when the target is elsewhere.
    pub engine_cores: usize,
    /// CPUs the embedded engine is pinned to.
    pub engine_cpus: Option<Vec<usize>>,
    /// Local addresses the subscribers rotate through; if empty, the kernel chooses.
    pub sources: Vec<IpAddr>,
}

impl Layout {
    /// Sockets on this host per connection: two with our own engine, whose end is here too.
    pub fn ends(&self) -> u64 {
        if self.engine_cores > 0 { 2 } else { 1 }
    }

    /// The local address of the socket with this index in the ramp.
    pub fn source_of(&self, index: usize) -> Option<IpAddr> {
        self.sources.get(index.checked_rem(self.sources.len())?).copied()
    }
}
