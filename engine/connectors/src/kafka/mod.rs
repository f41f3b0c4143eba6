//! Bridges to Kafka: a consumer group comes in, each offset committed after its record was
//! published; what goes out is kept until the cluster has acknowledged it. Must not know what
//! messages mean.

mod cluster;
mod incoming;
mod outgoing;
mod progress;
mod session;
mod settings;

use crate::bridge::context::Context;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::kafka::progress::Progress;
use crate::kafka::session::Session;
use crate::kafka::settings::Settings;
use crate::outbox::{Outbox, new_mark};
use crate::table::Reader;

/// A bridge of this kind.
struct Kafka {
    settings: Settings,
    progress: Progress,
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
        .and_then(|()| cluster::brokers(&common.url).map(drop))
        .map_err(|error| format!("{name}: {error}"))?;
    let outbox = Outbox::new(settings.out_messages_max);
    let connector = Kafka { settings, progress: Progress::default(), outbox, mark: new_mark() };
    Ok(Box::new(Supervised { common, connector }))
}

impl Connector for Kafka {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let known = (self.mark.as_str(), &self.progress);
        let mut session = Session::connect(context.common(), &self.settings, known).await?;
        context.is_up();
        session.run(&mut self.progress, &mut self.outbox, context).await?;
        session.end(&mut self.progress, &mut self.outbox, context).await
    }

    fn ends_by_itself(&self) -> bool {
        true
    }

    fn end(&mut self, context: &Context) {
        self.outbox.end(context);
    }
}
