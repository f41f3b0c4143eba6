//! Where log lines go and in which form. Called once, before the engine starts.
//! It must not log anything itself.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Sends what the engine tells to standard error, and warnings of the libraries below it.
///
/// # Errors
/// When this process has a logger already.
pub fn init(log: &Log) -> Result<(), TryInitError> {
    let filter = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level(log.level))
        .with_default(LevelFilter::WARN);
    // Colours are for eyes: in a file or a journal they are noise between the words.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
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
