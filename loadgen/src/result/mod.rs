//! Results: written to files and read back. Must not judge or compute their contents.

pub mod json_text;
pub mod record;
pub mod run_file;
pub mod stored_histogram;
