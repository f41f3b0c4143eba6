//! The brake: whether publishers of a core have to wait, because some core is too far behind with
//! what was published here. Owns what is waited for. Must not know who waits.
//!
//! Pacing each publisher by itself would not do: ten thousand that publish one message each at the
//! same instant are ahead only together.

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
