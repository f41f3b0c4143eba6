//! Results: written to files and read back. Must not judge or compute their contents.

pub(crate) mod json_text;
pub(crate) mod record;
pub(crate) mod run_file;
pub(crate) mod stored_histogram;
