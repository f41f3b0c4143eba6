//! The bridge to NATS, core messages in and out. NATS keeps nothing for a subscriber that is away:
//! what is published meanwhile is lost, and told. Owns which protocol is spoken where. Must not
//! speak it itself: one connection is a `session`.
//!
//! The protocol is spoken by this folder itself, six lines of it: `async-nats` calls a flush done
//! when the kernel has the bytes, so what a killed server did not read is lost without a word; it
//! reads into queues that it drops from when the engine brakes, where TCP could make the server
//! wait; and it connects again by itself, past the pauses and metrics that all bridges share.

mod kept;
mod session;
pub mod settings;
mod subjects;
mod who;
mod wire;

use crate::bridge::context::Context;
use crate::bridge::dial::{Address, Scheme};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::nats::kept::Kept;
use crate::nats::session::Session;
use crate::nats::settings::Settings;
use crate::table::Reader;

const SCHEMES: [Scheme; 2] = [
    Scheme { name: "nats", port: 4222, is_tls: false },
    Scheme { name: "tls", port: 4222, is_tls: true },
];

/// A bridge of this kind, as its table says.
///
/// # Errors
/// The key that is wrong, and why.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let name = reader.name.clone();
    let settings: Settings = reader.rest()?;
    let named = |error: String| format!("{name}: {error}");
    settings.check(&common).map_err(named)?;
    let urls = common.url.split(',').map(|url| Address::parse(url.trim(), &SCHEMES));
    let addresses = urls.collect::<Result<Vec<Address>, _>>().map_err(named)?;
    let connector = Kept::new(addresses, settings);
    Ok(Box::new(Supervised { common, connector }))
}

impl Connector for Kept {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let session = Session::open(self, context).await?;
        let ended = session.run().await;
        self.absence.begin();
        ended
    }
}
