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

/// Version of the layout; grows with every change that a reader could notice.
const SCHEMA_VERSION: u32 = 1;

/// The file in the directory of a search.
pub const CAPACITY_FILE: &str = "capacity.json";

/// Everything known about a finished search.
#[derive(Debug)]
pub struct Record<'r> {
    /// The command line that repeats it.
    pub command: &'r str,
    /// The name of the scenario.
    pub scenario: &'r str,
    /// What was varied.
    pub control: Control,
    /// The goals, in words.
    pub goals: &'r [String],
    /// How close to the knee the answer had to be, as a share.
    pub resolution: f64,
    /// How long it took, seconds.
    pub elapsed_s: f64,
    /// What was left undone for lack of time, in words.
    pub left_out: Option<&'r str>,
    /// What it comes to.
    pub answer: &'r Answer,
    /// Every run, in order.
    pub points: &'r [Point],
    /// Where.
    pub environment: &'r Environment,
}

impl Record<'_> {
    /// Writes it to a file.
    ///
    /// # Errors
    /// What the operating system says.
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
