//! The WebSocket to the far end. Owns how it is opened, and that what is to be sent is sent while
//! something else is waited for. Must not know what is said over it.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::bridge::dial::{Address, Stream};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;

use super::said::PROTOCOL;

/// How long the handshake may take.
const WAIT: Duration = Duration::from_secs(10);
/// The largest message that an engine takes is 64 MiB; its envelope comes on top.
const MESSAGE_BYTES_MAX: usize = 65 << 20;

/// See the file header.
pub struct Link {
    /// What the far end says.
    pub incoming: SplitStream<WebSocketStream<Box<dyn Stream>>>,
    outgoing: mpsc::Sender<Message>,
    writer: JoinHandle<Error>,
}

impl Link {
    /// Opens the link; `queue` messages may wait to be sent.
    ///
    /// # Errors
    /// [`SessionError`]: no connection, or the far end refused it.
    pub async fn open(
        address: &Address,
        common: &Common,
        queue: usize,
    ) -> Result<Self, SessionError> {
        let request = request(address, common)?;
        let stream = address.dial(common.credentials.ca_file.as_deref()).await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let opening = timeout(WAIT, client_async_with_config(request, stream, Some(config)));
        let opened = opening.await.map_err(|_| {
            let text = format!("no handshake of {address} within {} s", WAIT.as_secs());
            SessionError::new("connect", text)
        })?;
        let (socket, _) = opened.map_err(|error| refused(&error))?;
        let (sink, incoming) = socket.split();
        let (outgoing, queued) = mpsc::channel(queue);
        let writer = tokio::task::spawn_local(write(sink, queued));
        Ok(Self { incoming, outgoing, writer })
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SessionError`] when the connection is lost.
    pub fn send(&self, message: Message) -> Result<(), SessionError> {
        self.outgoing.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                SessionError::new("closed", "the far end takes nothing")
            }
            mpsc::error::TrySendError::Closed(_) => {
                SessionError::new("closed", "the connection was lost")
            }
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

fn request(address: &Address, common: &Common) -> Result<Request, SessionError> {
    let error = |error: &dyn ToString| SessionError::new("credentials", error.to_string());
    let scheme = if address.is_tls { "wss" } else { "ws" };
    let url = format!("{scheme}://{address}/v1/ws");
    let mut request = url.into_client_request().map_err(|wrong| error(&wrong))?;
    let mut set = |name: HeaderName, value: &str| -> Result<(), SessionError> {
        let value = HeaderValue::from_str(value).map_err(|wrong| error(&wrong))?;
        request.headers_mut().insert(name, value);
        Ok(())
    };
    set(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)?;
    if let Some(token) = common.credentials.token().map_err(|wrong| error(&wrong))? {
        set(header::AUTHORIZATION, &format!("Bearer {token}"))?;
    }
    Ok(request)
}

/// Sends what is queued, as much at once as there is, until the connection fails.
async fn write(
    mut sink: SplitSink<WebSocketStream<Box<dyn Stream>>, Message>,
    mut queued: mpsc::Receiver<Message>,
) -> Error {
    while let Some(message) = queued.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if let Err(error) = sink.feed(message).await {
                return error;
            }
            next = queued.try_recv().ok();
        }
        if let Err(error) = sink.flush().await {
            return error;
        }
    }
    Error::ConnectionClosed
}

fn refused(error: &Error) -> SessionError {
    let Error::Http(response) = error else { return SessionError::new("connect", error) };
    let body = response.body().as_deref().unwrap_or_default();
    let told = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let message = told["error"]["message"].as_str().unwrap_or_default();
    SessionError::new("refused", format!("the far end said {}: {message}", response.status()))
}
