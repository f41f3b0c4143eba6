//! One limit of a host: its value, what a load needs, and the remedy. Must not know how the value
//! was found.

use crate::time::units::format_exact;

/// A row of the examination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The name of the limit.
    pub name: &'static str,
    /// Its value, with the unit.
    pub current: String,
    /// What the load needs, with its unit.
    pub needed: String,
    /// The state of the limit.
    pub state: State,
    /// The remedy; `None` if none is needed or possible.
    pub remedy: Option<Remedy>,
    /// The purpose of the limit, in a few words.
    pub why: &'static str,
}

/// The state of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The limit is sufficient.
    Ok,
    /// The load will run, but another value would give better or steadier results.
    Advice,
    /// The load will not run, or not completely.
    TooLow,
}

impl State {
    /// The word for the table.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Advice => "advice",
            State::TooLow => "TOO LOW",
        }
    }
}

/// The remedy for a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A kernel setting; `--fix` changes it.
    Sysctl {
        /// Its name, with dots.
        name: &'static str,
        /// Its recommended value.
        value: String,
    },
    /// The soft limit of open files of the calling shell; `--fix` raises it.
    SoftLimit {
        /// Open files.
        files: u64,
    },
    /// A command for the user to decide on, or a flag of `run`.
    Command(String),
}

impl Remedy {
    /// The command to type.
    pub fn command(&self) -> String {
        match self {
            Remedy::Sysctl { name, value } if value.contains(' ') => {
                format!("sysctl -w {name}=\"{value}\"")
            }
            Remedy::Sysctl { name, value } => format!("sysctl -w {name}={value}"),
            Remedy::SoftLimit { files } => format!("ulimit -Sn {files}"),
            Remedy::Command(command) => command.clone(),
        }
    }
}

impl Limit {
    /// A sufficient limit.
    pub fn ok(name: &'static str, current: impl Into<String>, needed: impl Into<String>) -> Limit {
        let (current, needed) = (current.into(), needed.into());
        Limit { name, current, needed, state: State::Ok, remedy: None, why: "" }
    }

    /// A number that should reach a minimum; if it does not, the limit is in the given state.
    pub fn at_least(name: &'static str, current: u64, needed: u64, otherwise: State) -> Limit {
        let limit = Limit::ok(name, shown(current), format_exact(needed));
        if current >= needed { limit } else { Limit { state: otherwise, ..limit } }
    }

    /// The same limit in this state.
    pub fn rated(self, state: State) -> Limit {
        Limit { state, ..self }
    }

    /// Adds the purpose, and the remedy if the limit is not sufficient.
    pub fn with_remedy(self, remedy: Remedy, why: &'static str) -> Limit {
        let remedy = (self.state != State::Ok).then_some(remedy);
        Limit { remedy, why, ..self }
    }
}

/// A number that may mean that there is no limit.
pub fn shown(number: u64) -> String {
    if number > UNLIMITED { "unlimited".to_owned() } else { format_exact(number) }
}

/// Above this value, the kernel's number means that there is no limit.
const UNLIMITED: u64 = 1 << 62;
