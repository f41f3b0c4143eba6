//! `gridcast doctor`: what on this host would limit so many connections. Reads the host, has it
//! judged, and prints. Must not judge, or change anything.
//!
//! gridload has a doctor of its own, which examines both ends of a measurement: the load generator
//! shares no code with what it measures.

mod facts;
mod limits;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use comfy_table::{Table, presets::NOTHING};

use crate::args::DoctorArgs;
use crate::output::{self, Failure};
use facts::Facts;
use limits::{Limit, Load, State};

/// Examines this host; the exit code says whether something would limit the load.
///
/// # Errors
/// When nobody reads what is found.
pub fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let facts = Facts::read(Path::new("/"));
    let load = Load { subscribers: args.subscribers, arrivals: args.arrivals };
    let found = limits::limits(&facts, load);
    output::all(&render(load, &found, limits::fitting(&facts)))?;
    let fits = found.iter().all(|limit| limit.state != State::TooLow);
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(load: Load, limits: &[Limit], fitting: Option<u64>) -> String {
    let too_low = limits.iter().filter(|limit| limit.state == State::TooLow).count();
    let verdict = match too_low {
        0 => "fit this host".to_owned(),
        count => format!("do NOT fit this host: {count} limits are too low"),
    };
    let mut text = format!("{} connections {verdict}\n", load.subscribers);
    if let Some(fitting) = fitting {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "descriptors and memory are enough for about {fitting}");
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["limit", "here", "needed", ""]);
    for Limit { name, here, needed, state, .. } in limits {
        table.add_row([*name, here, needed, word(*state)]);
    }
    // As above.
    let _ = writeln!(text, "\n{}", table.trim_fmt());
    for limit in limits.iter().filter(|limit| limit.state != State::Ok) {
        let Limit { name, state, why, remedy, .. } = limit;
        // As above.
        let _ = writeln!(text, "\n{name} ({}): {why}\n  {remedy}", word(*state));
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Advice => "advice",
        State::TooLow => "TOO LOW",
    }
}
