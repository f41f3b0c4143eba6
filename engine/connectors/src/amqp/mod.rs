//! Bridges to RabbitMQ: a queue bound to a topic exchange comes in, each delivery acknowledged
//! after it was published; what goes out is kept until the broker has confirmed it. Must not know
//! what messages mean.

mod failure;
mod incoming;
mod keys;
mod outgoing;
mod session;
mod settings;

use crate::amqp::session::Session;
use crate::amqp::settings::Settings;
use crate::bridge::context::Context;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::outbox::{Outbox, new_mark};
use crate::table::Reader;

/// A bridge of this kind.
struct Amqp {
    settings: Settings,
    outbox: Outbox,
    mark: String,
}

/// Makes one of its settings.
///
/// # Errors
/// The first setting that is wrong.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let name = reader.name.clone();
    let settings: Settings = reader.rest()?;
    settings
        .check(&common)
        .and_then(|()| session::address(&common).map(drop))
        .map_err(|error| format!("{name}: {error}"))?;
    let outbox = Outbox::new(settings.confirms_max);
    let connector = Amqp { settings, outbox, mark: new_mark() };
    Ok(Box::new(Supervised { common, connector }))
}

impl Connector for Amqp {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let mut session = Session::connect(context.common(), &self.settings, &self.mark).await?;
        context.is_up();
        session.run(&mut self.outbox, context).await
    }

    fn ends_by_itself(&self) -> bool {
        true
    }

    fn end(&mut self, context: &Context) {
        self.outbox.end(context);
    }
}
