//! What outlives a connection to Redis: the settings, and the messages that it has not answered.
//! Must not connect.

use crate::bridge::absence::Absence;
use crate::bridge::batch::Batch;
use crate::bridge::dial::Address;
use crate::redis::settings::Settings;

/// See the file header.
#[derive(Debug)]
pub struct Kept {
    pub address: Address,
    pub settings: Settings,
    pub batch: Batch,
    pub absence: Absence,
}

impl Kept {
    /// Before the first connection.
    pub fn new(address: Address, settings: Settings) -> Self {
        Self { address, settings, batch: Batch::default(), absence: Absence::default() }
    }
}
