//! Results as they are written and read back. Must not judge or compute what is in them.

pub mod json_text;
pub mod record;
pub mod run_file;
pub mod stored_histogram;
