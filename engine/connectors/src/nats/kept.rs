//! What outlives a connection to a server: the settings, which server is next, and the messages
//! that no server has confirmed. Must not connect.

use crate::bridge::absence::Absence;
use crate::bridge::batch::Batch;
use crate::bridge::dial::Address;
use crate::nats::settings::Settings;

/// See the file header.
#[derive(Debug)]
pub struct Kept {
    /// At least one.
    addresses: Vec<Address>,
    /// The server that is tried next.
    next: usize,
    pub settings: Settings,
    pub batch: Batch,
    pub absence: Absence,
}

impl Kept {
    /// Before the first connection.
    pub fn new(addresses: Vec<Address>, settings: Settings) -> Self {
        let (batch, absence) = (Batch::default(), Absence::default());
        Self { addresses, next: 0, settings, batch, absence }
    }

    /// Each try goes to another server, if there are several.
    pub fn next_address(&mut self) -> Address {
        let at = self.next % self.addresses.len();
        self.next = at + 1;
        self.addresses[at].clone()
    }
}
