//! Where log lines go, in which form, and how much is told. Called once, before the engine starts.
//! It must not log anything itself.

use crate::settings::config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

/// Sends what the engine tells to standard error, and warnings of the libraries below it.
///
/// # Errors
/// When this process has a logger already.
pub fn init(log: &Log) -> Result<Level, TryInitError> {
    let (filter, handle) = reload::Layer::new(targets(log.level));
    // Colours are for eyes: in a file they are noise.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(Level(handle))
}

/// How much is told, to be changed while the engine runs.
#[derive(Debug)]
pub struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// Tells more or less from now on.
    pub fn set(&self, level: LogLevel) {
        // It fails only without a logger: then nothing is told anyway.
        let _ = self.0.reload(targets(level));
    }
}

fn targets(wanted: LogLevel) -> Targets {
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level(wanted))
        .with_default(LevelFilter::WARN)
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
