//! Deliveries on their way in: published first, and acknowledged once they stand in their feeds.
//! Owns which are not acknowledged yet. Must not connect.

use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicRejectOptions};

use crate::amqp::failure::lost;
use crate::amqp::keys;
use crate::bridge::arrivals::Arrivals;
use crate::bridge::context::Context;
use crate::bridge::payload::Payload;
use crate::bridge::receipt::Receipt;
use crate::bridge::supervisor::SessionError;

/// Deliveries that one acknowledgement stands for, at most: so many come again after a lost
/// connection.
const ACKNOWLEDGED_TOGETHER_MAX: u32 = 100;

/// What was taken in over one channel.
pub struct Incoming {
    channel: Channel,
    payload: Payload,
    /// What messages have that this bridge has sent.
    mark: String,
    /// The numbers of deliveries that were published and may not stand in their feeds yet.
    arrivals: Arrivals<u64>,
    /// The newest delivery that stands, and all before it.
    newest_tag: u64,
    /// How many stand since the last acknowledgement.
    unacknowledged: u32,
}

impl Incoming {
    /// Nothing was taken in yet.
    pub fn new(channel: Channel, payload: Payload, mark: &str) -> Self {
        let (mark, arrivals) = (mark.to_owned(), Arrivals::default());
        Self { channel, payload, mark, arrivals, newest_tag: 0, unacknowledged: 0 }
    }

    /// Whether something stands in its feed and is not acknowledged.
    pub fn is_behind(&self) -> bool {
        self.unacknowledged > 0
    }

    /// Whether another delivery may be taken.
    pub fn has_room(&self) -> bool {
        self.arrivals.has_room()
    }

    /// The oldest delivery once it stands in its feed. May be cancelled.
    ///
    /// # Errors
    /// When a log refused it: with the end of the session the broker has it again.
    pub async fn next(&mut self) -> Result<u64, SessionError> {
        self.arrivals.next().await
    }

    /// Publishes a delivery. One that is no message for this engine is rejected, so that the
    /// broker's dead-letter exchange gets it, if there is one.
    pub async fn take(
        &mut self,
        delivery: Delivery,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        let tag = delivery.delivery_tag;
        let mark = delivery.properties.app_id().as_ref();
        if mark.is_some_and(|mark| mark.as_str() == self.mark) {
            context.counters().dropped("loop", 1);
            self.arrivals.push_settled(tag);
        } else if let Some(receipt) = self.publish(&delivery, context).await {
            self.arrivals.push(tag, receipt);
        } else {
            context.counters().dropped("rejected", 1);
            let options = BasicRejectOptions { requeue: false };
            return self.channel.basic_reject(tag, options).await.map_err(lost);
        }
        Ok(())
    }

    /// Publishes a delivery, if it is a message for this engine.
    async fn publish(&self, delivery: &Delivery, context: &mut Context) -> Option<Receipt> {
        let name = keys::topic_of(delivery.routing_key.as_str());
        let topic = context.map_in(&name);
        let topic = topic.inspect_err(|_| context.counters().error("topic")).ok()?;
        let kind = self.payload.kind(&delivery.data);
        context.submit(&topic, kind, &delivery.data).await.ok()
    }

    /// The oldest delivery stands in its feed: it is acknowledged, together with others.
    ///
    /// # Errors
    /// When the connection is lost, or a log refused another one.
    pub async fn stands(&mut self, tag: u64) -> Result<(), SessionError> {
        (self.newest_tag, self.unacknowledged) = (tag, self.unacknowledged + 1);
        while self.unacknowledged < ACKNOWLEDGED_TOGETHER_MAX {
            let Some(tag) = self.arrivals.now() else { return Ok(()) };
            (self.newest_tag, self.unacknowledged) = (tag?, self.unacknowledged + 1);
        }
        self.acknowledge().await
    }

    /// Acknowledges everything that stands.
    pub async fn acknowledge(&mut self) -> Result<(), SessionError> {
        if self.unacknowledged == 0 {
            return Ok(());
        }
        self.unacknowledged = 0;
        let options = BasicAckOptions { multiple: true };
        self.channel.basic_ack(self.newest_tag, options).await.map_err(lost)
    }
}
