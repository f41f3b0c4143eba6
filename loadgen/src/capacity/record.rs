//! `capacity.json`: a search with its answer and all its points. Written once. Must not judge or
//! compute anything.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::capacity::answer::Answer;
use crate::capacity::control::Control;
use crate::capacity::point::Point;
use crate::observe::host::Environment;

/// Version of the layout; it grows with every change visible to a reader.
const SCHEMA_VERSION: u32 = 1;

/// The file in the directory of a search.
pub const CAPACITY_FILE: &str = "capacity.json";

/// All data of a finished search.
#[derive(Debug)]
pub struct Record<'r> {
    /// The command line that repeats the search.
    pub command: &'r str,
    /// The name of the scenario.
    pub scenario: &'r str,
    /// The control.
    pub control: Control,
    /// The goals, as text.
    pub goals: &'r [String],
    /// The requested resolution of the knee, as a share.
    pub resolution: f64,
    /// The duration, seconds.
    pub elapsed_s: f64,
    /// What was left out for lack of time, as text.
    pub left_out: Option<&'r str>,
    /// The answer.
    pub answer: &'r Answer,
    /// Every run, in order.
    pub points: &'r [Point],
    /// The host.
    pub environment: &'r Environment,
}

impl Record<'_> {
    /// Writes it to a file.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, format!("{:#}\n", self.json()))
    }

    fn json(&self) -> Value {
        json!({
            "schema_version": SCHEMA_VERSION,
            "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "command": self.command,
            "scenario": self.scenario,
            "control": self.control,
            "goals": self.goals,
            "resolution": self.resolution,
            "elapsed_s": self.elapsed_s,
            "left_out": self.left_out,
            "answer": self.answer,
            "points": self.points,
            "env": self.environment,
        })
    }
}
