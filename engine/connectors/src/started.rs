//! What was attached to an engine and runs: threads, and how they are told to end. Must not know
//! what they do.

use std::io;
use std::thread::JoinHandle;

use gridcast::engine::handle::Handle;
use gridcast::settings::attached::Attached;
use tokio::sync::watch;

use crate::bridge::metrics::Metrics;
use crate::kinds;

/// Threads that end when this is dropped.
#[derive(Debug)]
pub struct Started {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts everything that `attached` says.
///
/// # Errors
/// When a thread cannot be had, or settings that were checked are wrong now.
pub fn start(attached: &Attached, handle: Handle) -> io::Result<Started> {
    let bridges = kinds::bridges(attached).map_err(io::Error::other)?;
    let (stop, stopping) = watch::channel(false);
    let mut started = Started { stop, threads: Vec::new() };
    // Before the bridges, so that no configuration of theirs is missed.
    #[cfg(feature = "c37118")]
    started.add(crate::align::start(attached, &handle, &stopping)?);
    #[cfg(feature = "aggregate")]
    started.add(crate::aggregate::start(
        kinds::aggregates(attached).map_err(io::Error::other)?,
        &handle,
        &stopping,
    )?);
    #[cfg(feature = "backplane")]
    if let Some(settings) = kinds::backplane(attached).map_err(io::Error::other)? {
        started.threads.push(crate::backplane::start(settings, &handle, stopping.clone())?);
    }
    if bridges.is_empty() {
        return Ok(started);
    }
    let metrics = Metrics::default();
    let shown = metrics.clone();
    handle.add_metrics(move |registry| shown.register(registry));
    for bridge in bridges {
        started.threads.push(bridge.start(&handle, &metrics, stopping.clone())?);
    }
    Ok(started)
}

impl Started {
    #[cfg(any(feature = "c37118", feature = "aggregate"))]
    fn add(&mut self, threads: Vec<JoinHandle<()>>) {
        self.threads.extend(threads);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nobody is left to be told where no thread runs.
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            // It cannot fail but by a panic, which its thread has told.
            let _ = thread.join();
        }
    }
}
