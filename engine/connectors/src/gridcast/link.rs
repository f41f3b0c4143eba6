//! The WebSocket to the far end. Owns how it is opened, what waits to be sent over it, and what its
//! end is called. Must not know what is said over it.

use std::collections::VecDeque;
use std::time::Duration;

use gridcast_client::link::{Connection, Ending, Endpoint, Incoming, LinkOptions, Utf8Bytes};

use crate::bridge::dial::Address;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;

/// How long the handshake and the greeting may take.
const WAIT: Duration = Duration::from_secs(10);
/// The largest message that an engine takes is 64 MiB; its envelope comes on top.
const MESSAGE_BYTES_MAX: usize = 65 << 20;

/// See the file header.
pub struct Link {
    connection: Connection,
    /// It holds what is not acknowledged yet, and as many commands as there are subscriptions.
    queued: VecDeque<Utf8Bytes>,
}

impl Link {
    /// Opens the link.
    ///
    /// # Errors
    /// [`SessionError`]: no connection, or the far end refused it.
    pub async fn open(address: &Address, common: &Common) -> Result<Self, SessionError> {
        let wrong = |error: &dyn ToString| SessionError::new("credentials", error.to_string());
        let scheme = if address.is_tls { "wss" } else { "ws" };
        let endpoint =
            Endpoint::parse(&format!("{scheme}://{address}")).map_err(|error| wrong(&error))?;
        let token = common.credentials.token().map_err(|error| wrong(&error))?;
        let stream = address.dial(common.credentials.ca_file.as_deref()).await?;
        let options = LinkOptions {
            tls: None,
            token_first: false,
            connect_timeout: WAIT,
            message_bytes_max: MESSAGE_BYTES_MAX,
        };
        let opened = Connection::over(Box::new(stream), &endpoint, token.as_deref(), &options);
        let connection = opened.await.map_err(refused)?;
        if !connection.is_binary {
            let text = "the far end does not speak gridcast.v1.bin";
            return Err(SessionError::new("protocol", text));
        }
        Ok(Self { connection, queued: VecDeque::new() })
    }

    /// Queues a message.
    pub fn send(&mut self, message: impl Into<Utf8Bytes>) {
        self.queued.push_back(message.into());
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        self.connection.ping();
    }

    /// Grows whenever anything comes.
    pub fn heard(&self) -> u64 {
        self.connection.heard()
    }

    /// Sends what is queued, until something comes; where it may not read, nothing does. May be
    /// cancelled.
    ///
    /// # Errors
    /// The end of the link.
    pub async fn exchange(&mut self, may_read: bool) -> Result<Incoming, Ending> {
        let Self { connection, queued } = self;
        let next = || queued.pop_front();
        if may_read {
            return connection.incoming(next).await;
        }
        match connection.outgoing(next).await? {}
    }
}

fn refused(ending: Ending) -> SessionError {
    match ending.status {
        Some(status) => {
            let text = format!("the far end said {status}: {}", ending.reason);
            SessionError::new("refused", text)
        }
        None => SessionError::new("connect", ending.reason),
    }
}
