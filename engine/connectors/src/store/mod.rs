//! What bridges to stores share: messages become rows, rows wait within a bound, and are written in
//! batches. Must not know any store.

pub mod pace;
mod reasons;
pub mod spill;
mod trial;
pub mod writer;

use crate::bridge::settings::Common;

/// Checks that a bridge has something to store and nothing to read.
///
/// # Errors
/// Which key is wrong.
pub fn only_out(common: &Common) -> Result<(), String> {
    if !common.inputs.is_empty() {
        return Err(format!("in: nothing comes in from `{}`", common.kind));
    }
    if common.outputs.is_empty() {
        return Err("`out` is missing: the topics and patterns to store".to_owned());
    }
    Ok(())
}
