//! Bridges to phasor measurement units and data concentrators that speak IEEE C37.118, over TCP
//! and UDP. The decoder is pure: bytes go in, values come out. The load generator's is another one,
//! so that neither's error hides in the other.

pub mod bad_input;
pub mod command;
pub mod configuration;
pub mod data;
pub mod dialogue;
pub mod events;
mod fields;
pub mod fragments;
pub mod frame;
pub mod intake;
pub mod json;
#[cfg(test)]
pub(crate) mod samples;
pub mod session;
pub mod settings;
pub mod stamp;
pub mod stat;
pub mod stream;
pub mod streams;
pub mod told;

use crate::bridge::context::Context;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::table::Reader;
use session::Session;
use settings::Settings;

/// What takes frames in.
#[derive(Debug)]
struct C37118 {
    settings: Settings,
}

impl Connector for C37118 {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        Session::new(&self.settings).run(context).await
    }
}

/// Makes a bridge of its settings.
///
/// # Errors
/// What is wrong with them.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let settings = Settings::read(&common, reader)?;
    Ok(Box::new(Supervised { common, connector: C37118 { settings } }))
}
