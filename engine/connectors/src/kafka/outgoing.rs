//! The sending side of one session: what was handed to the producer and is not acknowledged. Must
//! not keep messages: the outbox does, over all sessions.

use std::collections::VecDeque;

use krafka::error::ErrorCode;
use krafka::producer::{DeliveryHandle, Producer};
use krafka::{KrafkaError, Record};

use crate::bridge::supervisor::SessionError;
use crate::kafka::cluster::failure;
use crate::outbox::Outbox;

/// The header of a record that says which bridge has sent it.
pub const MARK: &str = "gridcast";

/// What became of the oldest message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The cluster has it.
    Stored,
    /// The cluster will never take it.
    Refused,
}

/// See the file header.
pub struct Sending {
    producer: Producer,
    topic: String,
    mark: String,
    /// For each of the first messages of the outbox, what the cluster says of it; none where it
    /// was refused before it was sent.
    deliveries: VecDeque<Option<DeliveryHandle>>,
}

impl Sending {
    /// Nothing was sent yet.
    pub fn new(producer: Producer, topic: &str, mark: &str) -> Self {
        let (topic, mark) = (topic.to_owned(), mark.to_owned());
        Self { producer, topic, mark, deliveries: VecDeque::new() }
    }

    /// Sends what of the outbox this session has not sent.
    pub async fn send(&mut self, outbox: &Outbox) -> Result<(), SessionError> {
        while let Some(message) = outbox.get(self.deliveries.len()) {
            let record = Record::new(self.topic.as_str(), message.payload.clone());
            let record = record.key(message.name.clone()).header(MARK, self.mark.clone());
            match self.producer.enqueue(record).await {
                Ok(delivery) => self.deliveries.push_back(Some(delivery)),
                Err(error) if is_about_record(&error) => self.deliveries.push_back(None),
                Err(error) => return Err(failure(&error)),
            }
        }
        Ok(())
    }

    /// Waits for the cluster's word on the oldest message; never ends while none is out. May be
    /// cancelled.
    pub async fn delivered(&mut self) -> Result<Delivery, SessionError> {
        let delivery = match self.deliveries.front_mut() {
            Some(Some(delivery)) => match delivery.await {
                Ok(_) => Delivery::Stored,
                Err(error) if is_about_record(&error) => Delivery::Refused,
                Err(error) => return Err(failure(&error)),
            },
            Some(None) => Delivery::Refused,
            None => std::future::pending().await,
        };
        self.deliveries.pop_front();
        Ok(delivery)
    }
}

/// Errors that the same message would have at any time.
fn is_about_record(error: &KrafkaError) -> bool {
    let KrafkaError::Broker { code, .. } = error else { return false };
    matches!(
        code,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidRecord
    )
}
