//! The brake on publishers: while some core is too far behind with sweeping what was published
//! here, all publishers of this core wait. Must not know who waits.
//!
//! Slowing each publisher by itself is not enough: ten thousand that publish one message each at
//! the same instant are too fast only together.

use crate::delivery::doorbell::Behind;

/// See the file header.
#[derive(Debug, Default)]
pub struct Brake(Vec<Behind>);

impl Brake {
    /// Has publishers wait for this core as well.
    pub fn pull(&mut self, behind: Behind) {
        self.0.retain(|other| !other.is_over());
        self.0.push(behind);
    }

    /// True while publishers have to wait.
    pub fn is_on(&self) -> bool {
        self.0.iter().any(|behind| !behind.is_over())
    }
}
