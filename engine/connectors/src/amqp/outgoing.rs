//! The sending side of one session: what was sent and waits for the broker's word. Must not keep
//! messages: the outbox does, over all sessions.

use std::collections::VecDeque;

use gridcast::frame::Kind;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use crate::amqp::failure::lost;
use crate::amqp::settings::Settings;
use crate::bridge::supervisor::SessionError;
use crate::outbox::Outbox;

/// Written to disk by the broker.
const PERSISTENT: u8 = 2;

/// See the file header.
pub struct Sending {
    channel: Channel,
    exchange: String,
    is_persistent: bool,
    mark: String,
    /// For each of the first messages of the outbox, what the broker says of it.
    confirms: VecDeque<PublisherConfirm>,
}

impl Sending {
    /// Nothing was sent yet.
    pub fn new(channel: Channel, settings: &Settings, mark: &str) -> Self {
        let (exchange, is_persistent) = (settings.exchange.clone(), settings.persistent);
        let mark = mark.to_owned();
        Self { channel, exchange, is_persistent, mark, confirms: VecDeque::new() }
    }

    /// Sends what of the outbox this session has not sent.
    pub async fn send(&mut self, outbox: &Outbox) -> Result<(), SessionError> {
        while let Some(message) = outbox.get(self.confirms.len()) {
            let confirm = self.channel.basic_publish(
                self.exchange.as_str().into(),
                message.name.as_str().into(),
                BasicPublishOptions::default(),
                &message.payload,
                self.properties(message.kind),
            );
            self.confirms.push_back(confirm.await.map_err(lost)?);
        }
        Ok(())
    }

    fn properties(&self, kind: Kind) -> BasicProperties {
        let content_type = match kind {
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Binary => "application/octet-stream",
        };
        let properties = BasicProperties::default()
            .with_content_type(content_type.into())
            .with_app_id(self.mark.as_str().into());
        if self.is_persistent { properties.with_delivery_mode(PERSISTENT) } else { properties }
    }

    /// Waits for the broker's word on the oldest message; never ends while none is out. May be
    /// cancelled.
    pub async fn confirmed(&mut self) -> Result<(), SessionError> {
        let Some(confirm) = self.confirms.front_mut() else { return std::future::pending().await };
        match confirm.await.map_err(lost)? {
            Confirmation::Nack(_) => {
                Err(SessionError::new("refused", "the broker did not take a message"))
            }
            Confirmation::Ack(_) | Confirmation::NotRequested => {
                self.confirms.pop_front();
                Ok(())
            }
        }
    }
}
