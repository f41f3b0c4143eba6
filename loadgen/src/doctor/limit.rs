//! One limit of a host: what it is, what a load needs, and what mends it. Must not know how it was
//! found.

use crate::time::units::format_exact;

/// A row of the examination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub name: &'static str,
    /// How it is, with its unit.
    pub current: String,
    /// What the load needs, with its unit.
    pub needed: String,
    /// How the two compare.
    pub state: State,
    /// What mends it; none where all is well or nothing can be done.
    pub cure: Option<Cure>,
    /// What the limit is for, in a few words.
    pub why: &'static str,
}

/// How a limit compares with what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It suffices.
    Ok,
    /// The load will run, but results would be better or steadier otherwise.
    Advice,
    /// The load will not run, or not whole.
    TooLow,
}

impl State {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Advice => "advice",
            State::TooLow => "TOO LOW",
        }
    }
}

/// What mends a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cure {
    /// A setting of the kernel; `--fix` makes it.
    Sysctl {
        /// Its name, with dots.
        name: &'static str,
        /// What it should be.
        value: String,
    },
    /// The soft limit of open files of the calling shell; `--fix` raises it.
    SoftLimit {
        /// Open files.
        files: u64,
    },
    /// A command for the user to judge, or a flag of `run`.
    Command(String),
}

impl Cure {
    /// What to type.
    pub fn command(&self) -> String {
        match self {
            Cure::Sysctl { name, value } if value.contains(' ') => {
                format!("sysctl -w {name}=\"{value}\"")
            }
            Cure::Sysctl { name, value } => format!("sysctl -w {name}={value}"),
            Cure::SoftLimit { files } => format!("ulimit -Sn {files}"),
            Cure::Command(command) => command.clone(),
        }
    }
}

impl Limit {
    /// A limit that suffices.
    pub fn ok(name: &'static str, current: impl Into<String>, needed: impl Into<String>) -> Limit {
        let (current, needed) = (current.into(), needed.into());
        Limit { name, current, needed, state: State::Ok, cure: None, why: "" }
    }

    /// A number that should be at least another: as it is where it is, else in the given state.
    pub fn at_least(name: &'static str, current: u64, needed: u64, otherwise: State) -> Limit {
        let limit = Limit::ok(name, shown(current), format_exact(needed));
        if current >= needed { limit } else { Limit { state: otherwise, ..limit } }
    }

    /// The same limit in this state.
    pub fn rated(self, state: State) -> Limit {
        Limit { state, ..self }
    }

    /// The same limit with what mends it, should it need that, and what it is for.
    pub fn cured(self, cure: Cure, why: &'static str) -> Limit {
        let cure = (self.state != State::Ok).then_some(cure);
        Limit { cure, why, ..self }
    }
}

/// A number that may stand for no limit at all.
pub fn shown(number: u64) -> String {
    if number > UNLIMITED { "unlimited".to_owned() } else { format_exact(number) }
}

/// Beyond this the kernel writes a number where it means none.
const UNLIMITED: u64 = 1 << 62;
