//! The bridge to a broker of MQTT 3.1.1 or 5. Owns which protocol is spoken where. Must not speak
//! it itself: one connection is a `session`.
//!
//! The protocol is spoken by this folder itself, eight packets of it: `rumqttc` pins a
//! rustls-webpki with known flaws and is not kept any more, its successors are a crate for each
//! version with queues and reconnecting of their own, and `mqtt-protocol-core` allocates what a
//! header announces before it looks at its limit, and forgets unacknowledged messages when a broker
//! forgot the session.

mod decode;
mod encode;
mod filter;
mod kept;
mod octets;
mod properties;
mod reason;
mod session;
pub mod settings;
mod window;

use crate::bridge::context::Context;
use crate::bridge::dial::{Address, Scheme};
use crate::bridge::link::Link;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::mqtt::kept::Kept;
use crate::mqtt::session::Session;
use crate::mqtt::settings::Settings;
use crate::table::Reader;

const SCHEMES: [Scheme; 2] = [
    Scheme { name: "mqtt", port: 1883, is_tls: false },
    Scheme { name: "mqtts", port: 8883, is_tls: true },
];

/// See the file header.
#[derive(Debug)]
struct Mqtt {
    address: Address,
    kept: Kept,
}

/// A bridge of this kind, as its table says.
///
/// # Errors
/// The key that is wrong, and why.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let name = reader.name.clone();
    let settings: Settings = reader.rest()?;
    let named = |error: String| format!("{name}: {error}");
    let topics = settings.check(&common).map_err(named)?;
    let address = Address::parse(&common.url, &SCHEMES).map_err(named)?;
    let connector = Mqtt { address, kept: Kept::new(settings, topics) };
    Ok(Box::new(Supervised { common, connector }))
}

impl Connector for Mqtt {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let stream = self.address.dial(context.common().credentials.ca_file.as_deref()).await?;
        Session::open(&mut self.kept, context, Link::new(stream)).await?.run().await
    }
}
