//! The letterbox of a core: what other threads have to tell it about messages of its connections.
//! Owns the order.
//! Must not wake the core (that is its doorbell's), nor act on what is said.
//!
//! Its bound is that of the windows of the core's connections: each letter that answers a message
//! holds its part of one until the core takes it, and the others come once a connection.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::core::submission::Letter;

/// What a doorbell names when there are letters: no lane has this key.
pub const LETTERS_KEY: u32 = u32::MAX;

/// See the file header.
#[derive(Debug, Default)]
pub struct Letterbox(Mutex<VecDeque<Letter>>);

impl Letterbox {
    /// Puts letters in. The core is to be rung afterwards.
    pub fn put(&self, letters: Vec<Letter>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(letters);
    }

    /// Takes all that is there, behind what `taken` holds.
    pub fn take_into(&self, taken: &mut VecDeque<Letter>) {
        taken.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
