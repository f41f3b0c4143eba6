//! Bridges to PostgreSQL, with or without TimescaleDB: what is published is copied into a table,
//! and clients' questions about the past are answered from it. Must not know how rows wait and are
//! cut into batches (that is `store`).

mod client;
mod history;
mod jsonb;
mod rows;
mod settings;
mod table;
mod tls;

use crate::bridge::context::Context;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::postgres::client::Writing;
use crate::postgres::history::Questions;
use crate::postgres::rows::Rows;
use crate::postgres::settings::Settings;
use crate::store;
use crate::store::writer::Writer;
use crate::table::Reader;

/// A bridge of this kind.
struct Postgres {
    settings: Settings,
    writer: Writer<Rows>,
    questions: Option<Questions>,
}

/// Makes one of its settings.
///
/// # Errors
/// The first setting that is wrong.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let name = reader.name.clone();
    let settings: Settings = reader.rest()?;
    store::only_out(&common)
        .and_then(|()| settings.check())
        .and_then(|()| client::config(&common).map(drop))
        .map_err(|error| format!("{name}: {error}"))?;
    let writer = Writer::new(Rows, settings.batch);
    let connector = Postgres { settings, writer, questions: None };
    Ok(Box::new(Supervised { common, connector }))
}

impl Connector for Postgres {
    fn attach(&mut self, context: &Context) {
        if self.settings.history {
            let (store, questions) = history::pair(&context.common().outputs, context.handle());
            context.handle().add_history(Box::new(store));
            self.questions = Some(questions);
        }
    }

    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let (mut writing, mut end) = Writing::connect(context.common(), &self.settings).await?;
        context.is_up();
        let common = context.common().clone();
        let writes = self.writer.run(&mut writing, context);
        let answers = async {
            match &mut self.questions {
                Some(questions) => questions.answer_on(&common, &self.settings).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = writes => ended,
            lost = end.reached() => Err(lost),
            never = answers => never,
        }
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
