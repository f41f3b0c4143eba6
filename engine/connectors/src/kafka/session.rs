//! One session with a Kafka cluster: its consumer, its producer, and the loop that moves messages
//! both ways. Must not keep anything beyond its end.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use krafka::consumer::{Consumer, ConsumerRecord};
use krafka::{CloseOptions, Kafka, KrafkaError};
use tokio::time::{sleep, timeout};

use crate::bridge::context::{Context, Out, stopped};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;
use crate::kafka::cluster::{self, failure};
use crate::kafka::incoming::Incoming;
use crate::kafka::outgoing::{Delivery, Sending};
use crate::kafka::progress::Progress;
use crate::kafka::settings::Settings;
use crate::outbox::Outbox;

/// How long one look for records takes where there are none.
const POLL_TIME: Duration = Duration::from_millis(500);
/// How often the cluster is asked whether it is there: its client is silent about that.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// How long messages that were sent are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// See the file header.
pub struct Session {
    kafka: Kafka,
    /// The topics of Kafka that are used.
    topics: Vec<String>,
    consumer: Option<Consumer>,
    incoming: Incoming,
    sending: Option<Sending>,
}

/// What happens next in a session.
enum Event {
    Records(Result<Vec<ConsumerRecord>, KrafkaError>),
    Out(Out),
    Delivered(Result<Delivery, SessionError>),
    Look,
    Stop,
}

impl Session {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// Why not.
    pub async fn connect(
        common: &Common,
        settings: &Settings,
        (mark, progress): (&str, &Progress),
    ) -> Result<Self, SessionError> {
        let kafka = cluster::connect(common, settings).await?;
        let topics = common.inputs.iter().chain(&settings.out_topic).cloned().collect();
        let mut consumer = None;
        if let Some(group) = settings.group.as_ref().filter(|_| !common.inputs.is_empty()) {
            consumer = Some(cluster::consumer(&kafka, common, settings, (group, progress)).await?);
        }
        let mut sending = None;
        if let Some(topic) = settings.out_topic.as_ref().filter(|_| !common.outputs.is_empty()) {
            sending = Some(Sending::new(cluster::producer(&kafka).await?, topic, mark));
        }
        let incoming = Incoming::new(settings, mark);
        let session = Self { kafka, topics, consumer, incoming, sending };
        cluster::look(&session.kafka, &session.topics).await?;
        Ok(session)
    }

    /// Moves messages until the connection is lost or the bridge is to end.
    ///
    /// # Errors
    /// Why the connection was lost.
    pub async fn run(
        &mut self,
        progress: &mut Progress,
        outbox: &mut Outbox,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        let Self { kafka, topics, consumer, incoming, sending } = self;
        let consumer = consumer.as_ref();
        let mut stop = pin!(stopped(context.stopping()));
        let mut look = pin!(sleep(LOOK_AFTER));
        let mut records = pin!(poll(consumer));
        loop {
            if let Some(sending) = sending {
                sending.send(outbox).await?;
            }
            let event = tokio::select! {
                () = &mut stop => Event::Stop,
                () = &mut look => Event::Look,
                found = &mut records => Event::Records(found),
                delivery = delivered(sending.as_mut()) => Event::Delivered(delivery),
                out = context.next_out(), if outbox.has_room() => Event::Out(out),
            };
            match event {
                Event::Records(found) => {
                    let found = found.map_err(|error| failure(&error))?;
                    incoming.take(found, progress, context).await;
                    if let Some(consumer) = consumer {
                        incoming.commit(consumer, progress, context).await?;
                    }
                    records.set(poll(consumer));
                }
                Event::Out(out) => outbox.push(out, context, |name| Some(name.to_owned())),
                Event::Delivered(delivery) => outbox.settle(delivery? == Delivery::Stored, context),
                Event::Look => {
                    cluster::look(kafka, topics).await?;
                    look.set(sleep(LOOK_AFTER));
                }
                Event::Stop => return Ok(()),
            }
        }
    }

    /// The end of a session that was told to: commits what was published, leaves the group, and
    /// waits a moment for what was sent.
    ///
    /// # Errors
    /// When the connection was lost before.
    pub async fn end(
        &mut self,
        progress: &mut Progress,
        outbox: &mut Outbox,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        if let Some(consumer) = &self.consumer {
            self.incoming.commit_now(consumer, progress).await?;
            let options = CloseOptions::new().timeout(LAST_WORDS);
            consumer.close_with(options).await.map_err(|error| failure(&error))?;
        }
        let deliveries = async {
            while let Some(sending) = self.sending.as_mut().filter(|_| !outbox.is_empty()) {
                outbox.settle(sending.delivered().await? == Delivery::Stored, context);
            }
            Ok(())
        };
        // What is not confirmed then is counted by who keeps it.
        timeout(LAST_WORDS, deliveries).await.unwrap_or(Ok(()))
    }
}

/// The next records; never ends where nothing is read.
async fn poll(consumer: Option<&Consumer>) -> Result<Vec<ConsumerRecord>, KrafkaError> {
    match consumer {
        Some(consumer) => consumer.poll(POLL_TIME).await,
        None => pending().await,
    }
}

async fn delivered(sending: Option<&mut Sending>) -> Result<Delivery, SessionError> {
    match sending {
        Some(sending) => sending.delivered().await,
        None => pending().await,
    }
}
