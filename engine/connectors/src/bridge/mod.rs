//! What all bridges share: their common settings, how names are mapped, the way to the engine and
//! back, when they try again, what they count.

pub mod absence;
pub mod arrivals;
pub mod backoff;
pub mod batch;
pub mod context;
#[cfg(feature = "dial")]
pub mod dial;
#[cfg(feature = "dial")]
pub mod link;
pub mod mapping;
pub mod metrics;
pub mod payload;
pub mod publishing;
pub mod receipt;
pub mod settings;
pub mod supervisor;
