//! The command line: every flag with its default, unit and range, and the commands without a folder
//! of their own.

pub mod command;
pub mod flags;
pub mod help;
pub mod merge;
pub mod options;
pub mod overrides;
pub(crate) mod pages;
pub mod report;
pub mod session;
