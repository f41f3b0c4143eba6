//! Bridges to InfluxDB, 1.x and 2.x: what is published becomes line protocol and is written over
//! HTTP. Must not know how rows wait and are cut into batches (that is `store`).

mod client;
mod line;
mod rows;
mod settings;
mod verdict;

use crate::bridge::context::Context;
use crate::bridge::dial::Address;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::influx::client::{Client, SCHEMES};
use crate::influx::rows::Lines;
use crate::influx::settings::{Settings, Target};
use crate::store;
use crate::store::writer::Writer;
use crate::table::Reader;

/// A bridge of this kind.
struct Influx {
    target: Target,
    writer: Writer<Lines>,
}

/// Makes one of its settings.
///
/// # Errors
/// The first setting that is wrong.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let name = reader.name.clone();
    let settings: Settings = reader.rest()?;
    let checked = Address::parse(&common.url, &SCHEMES)
        .and_then(|_| store::only_out(&common))
        .and_then(|()| settings.check());
    let (target, rules) = checked.map_err(|error| format!("{name}: {error}"))?;
    let writer = Writer::new(Lines::new(rules), target.pace);
    Ok(Box::new(Supervised { common, connector: Influx { target, writer } }))
}

impl Connector for Influx {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let mut client = Client::connect(context.common(), &self.target).await?;
        context.is_up();
        self.writer.run(&mut client, context).await
    }

    async fn pause(&mut self, context: &mut Context) {
        self.writer.wait(context).await;
    }

    fn ends_by_itself(&self) -> bool {
        true
    }

    fn end(&mut self, context: &Context) {
        self.writer.end(context);
    }
}
