//! Aligned ticks: one message for each instant, with what all topics of a group measured then. The
//! aligning is a pure machine ([`aligner`]); a thread feeds it.

pub mod aligner;
pub mod group;
pub mod message;
pub mod metrics;
pub mod reading;
pub mod settings;

use std::io;
use std::thread::JoinHandle;

use gridcast::engine::handle::Handle;
use gridcast::settings::attached::Attached;
use tokio::sync::watch;

use metrics::Metrics;
use settings::Settings;

/// Starts a thread for each group.
///
/// # Errors
/// When a thread cannot be had, or settings that were checked are wrong now.
pub fn start(
    attached: &Attached,
    handle: &Handle,
    stopping: &watch::Receiver<bool>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let groups = Settings::read_all(&attached.align).map_err(|e| io::Error::other(e.join("; ")))?;
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let metrics = Metrics::default();
    let shown = metrics.clone();
    handle.add_metrics(move |registry| shown.register(registry));
    let start = |settings| group::start(settings, handle, &metrics, stopping.clone());
    groups.into_iter().map(start).collect()
}
