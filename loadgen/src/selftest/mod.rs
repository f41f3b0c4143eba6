//! `gridload selftest`: verifies the accuracy of the instrument against a server with known faults.
//! Owns the order of the rows, the output and the stored floor. Must not measure.

pub(crate) mod error;
mod fault;
pub(crate) mod floor;
mod null_server;
mod offline;
mod row;
mod rows;
mod trial;

use std::fs;

use serde_json::json;

use crate::cli::flags::selftest::SelftestArgs;
use crate::judge::exit::Exit;
use crate::observe::host;
use crate::os::output::{note, say};
use crate::selftest::error::SelftestError;
use crate::selftest::floor::TimingFloor;
use crate::selftest::row::{Row, RowVerdict};
use crate::selftest::rows::{Extent, Rows};

/// Runs all rows, prints them, and stores the floor for the reports of later runs.
///
/// # Errors
/// When a row cannot be run, or the file cannot be written.
pub fn run(args: &SelftestArgs) -> Result<Exit, SelftestError> {
    host::raise_descriptor_limit().map_err(|cause| SelftestError::System {
        action: "raising the limit of open files",
        cause,
    })?;
    let extent = if args.short { Extent::Short } else { Extent::Full };
    let (rows, floor) = all(extent)?;
    let passed = rows.iter().filter(|row| row.verdict == RowVerdict::Ok).count();
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", json!({"rows": rows, "floor": floor}));
        fs::write(path, text).map_err(|cause| SelftestError::Json { path: path.clone(), cause })?;
    }
    say(format_args!("\n{passed} of {} within their bounds", rows.len()));
    if rows.iter().any(|row| row.verdict == RowVerdict::Wrong) {
        note(format_args!("do not trust what gridload measures on this host until this is fixed"));
        return Ok(Exit::InvalidRun);
    }
    if passed < rows.len() {
        note(format_args!("other work disturbed the host: repeat this when it is idle"));
        return Ok(Exit::InvalidRun);
    }
    store(&floor);
    Ok(Exit::Ok)
}

fn all(extent: Extent) -> Result<(Vec<Row>, TimingFloor), SelftestError> {
    let (rows, floor) = Rows::begin(extent)?;
    let mut log = RowLog::default();
    log.add([floor]);
    log.add(rows.fixed_delays()?);
    log.add([rows.mixture()?]);
    log.add([rows.server_stop()?]);
    log.add([rows.publisher_stop()?]);
    log.add(rows.clock_shifts()?);
    log.add([rows.mangled()?]);
    log.add([rows.stopped_reader()?]);
    log.add([rows.saturated()?]);
    log.add([offline::comparisons()]);
    log.add([offline::merged()]);
    log.add([rows.slow_server()?]);
    log.add([rows.misdelivering_server()?]);
    log.add([rows.silent_server()?]);
    Ok((log.rows, rows.floor))
}

/// The rows so far; each is printed when it is complete.
#[derive(Default)]
struct RowLog {
    rows: Vec<Row>,
}

impl RowLog {
    fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            let Row { number, what, truth, measured, allowed, verdict } = &row;
            say(format_args!("{} {number:>2}  {what}", verdict.name()));
            say(format_args!(
                "{:>20} {truth}\n{:>20} {measured}\n{:>20} {allowed}",
                "expected", "measured", "tolerance"
            ));
            self.rows.push(row);
        }
    }
}

/// Reports work without a floor, so an unwritable home directory only causes a message.
fn store(floor: &TimingFloor) {
    match floor.store() {
        Ok(path) => {
            note(format_args!("latency floor stored for later reports: {}", path.display()))
        }
        Err(error) => {
            note(format_args!("the latency floor could not be stored for later reports: {error}"))
        }
    }
}
