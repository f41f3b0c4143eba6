//! Sets up logging: where lines go, in which form, how much. Called once, before the engine starts.
//! Must not log anything itself.

use crate::settings::config::{Log, LogFormat, LogLevel};
use crate::settings::lines::Lines;
use std::io::{self, IsTerminal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Sends what the engine tells to standard error, and warnings of the libraries below it. Answers
/// how to tell more or less, and where lines can be put that are no events.
///
/// # Errors
/// When this process has a logger already, or no thread left.
pub fn init(log: &Log) -> io::Result<(Level, Lines)> {
    let (filter, handle) = reload::Layer::new(targets(log.level));
    let lines = Lines::start(io::stderr())?;
    let writer = lines.clone();
    // Colours are for eyes: in a file they are noise.
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || writer.clone());
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    subscriber.try_init().map_err(io::Error::other)?;
    log_panics(lines.clone());
    Ok((Level(handle), lines))
}

/// The standard hook writes to standard error itself, and would wait there.
fn log_panics(lines: Lines) {
    std::panic::set_hook(Box::new(move |panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a fault of the engine itself: please report it");
        lines.wait_written();
    }));
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
