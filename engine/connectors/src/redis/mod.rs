//! The bridge to Redis or Valkey: Pub/Sub in, PUBLISH out, over one connection that speaks RESP3.
//! Redis keeps nothing for a subscriber that is away: what is published meanwhile is lost, and
//! told. Owns which parts there are. Must not move messages itself: one connection is a `session`.

mod channels;
mod echoes;
mod inbox;
mod kept;
mod session;
pub mod settings;

use crate::bridge::context::Context;
use crate::bridge::dial::{Address, Scheme};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::redis::kept::Kept;
use crate::redis::session::Session;
use crate::redis::settings::Settings;
use crate::table::Reader;

const SCHEMES: [Scheme; 2] = [
    Scheme { name: "redis", port: 6379, is_tls: false },
    Scheme { name: "rediss", port: 6379, is_tls: true },
];

/// A bridge of this kind, as its table says.
///
/// # Errors
/// The key that is wrong, and why.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let name = reader.name.clone();
    let settings: Settings = reader.rest()?;
    let named = |error: String| format!("{name}: {error}");
    Settings::check(&common).map_err(named)?;
    let address = Address::parse(&common.url, &SCHEMES).map_err(named)?;
    let connector = Kept::new(address, settings);
    Ok(Box::new(Supervised { common, connector }))
}

impl Connector for Kept {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let session = Session::open(self, context).await?;
        self.absence.end(context);
        context.is_up();
        let ended = session.run(self, context).await;
        self.absence.begin();
        ended
    }
}
