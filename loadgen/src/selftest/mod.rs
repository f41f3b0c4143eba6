//! `gridload selftest`: verifies the accuracy of the instrument against a server with known faults.
//! Owns the order of the rows, the output and the stored floor. Must not measure.

pub mod error;
mod fault;
pub mod floor;
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
        note(format_args!("do not trust what this instrument says here before this is mended"));
        return Ok(Exit::InvalidRun);
    }
    if passed < rows.len() {
        note(format_args!("the host was in the way: try again when it is quiet"));
        return Ok(Exit::InvalidRun);
    }
    leave(&floor);
    Ok(Exit::Ok)
}

fn all(extent: Extent) -> Result<(Vec<Row>, TimingFloor), SelftestError> {
    let (rows, floor) = Rows::begin(extent)?;
    let mut told = Told::default();
    told.add([floor]);
    told.add(rows.fixed_delays()?);
    told.add([rows.mixture()?]);
    told.add([rows.server_stop()?]);
    told.add([rows.publisher_stop()?]);
    told.add(rows.clock_shifts()?);
    told.add([rows.mangled()?]);
    told.add([rows.stopped_reader()?]);
    told.add([rows.saturated()?]);
    told.add([offline::comparisons()]);
    told.add([offline::merged()]);
    Ok((told.rows, rows.floor))
}

/// The rows so far; each is printed when it is complete.
#[derive(Default)]
struct Told {
    rows: Vec<Row>,
}

impl Told {
    fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            let Row { number, what, truth, measured, allowed, verdict } = &row;
            say(format_args!("{} {number:>2}  {what}", verdict.name()));
            say(format_args!(
                "{:>20} {truth}\n{:>20} {measured}\n{:>20} {allowed}",
                "truth", "measured", "may be off"
            ));
            self.rows.push(row);
        }
    }
}

/// Reports work without a floor, so an unwritable home directory only causes a message.
fn leave(floor: &TimingFloor) {
    match floor.leave() {
        Ok(path) => note(format_args!("the floor is kept for later reports in {}", path.display())),
        Err(error) => note(format_args!("the floor could not be kept for later reports: {error}")),
    }
}
