//! One WebSocket with a greeting. Owns the handshake, and that reading and writing never wait for
//! each other. Must not know topics or what a message means.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::dial::{Duplex, Heard, Tls, dial};
use super::ending::Ending;
use super::endpoint::Endpoint;
use crate::wire::told::{Hello, Told};
use crate::wire::{BIN, JSON, command};

/// How long the farewell may take: nothing of value is waited for.
const FAREWELL: Duration = Duration::from_secs(2);
/// The number of the command that brings the first token: sessions count from 1.
const FIRST_ID: u64 = 0;

/// How a connection is made.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// TLS, for an endpoint that has it.
    pub tls: Option<Tls>,
    /// Whether the token is the first message, instead of a header of the request.
    pub token_first: bool,
    /// From the first packet to the greeting.
    pub connect_timeout: Duration,
    /// The largest message that is taken.
    pub message_bytes_max: usize,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A command's answer, a notice, or a message in JSON.
    Text(Utf8Bytes),
    /// A message in the binary envelope.
    Binary(Bytes),
    /// A ping was answered.
    Pong,
}

/// A connection that was greeted.
pub struct Connection {
    socket: WebSocketStream<Heard>,
    /// What the server said first.
    pub hello: Hello,
    /// Whether messages come in the binary envelope.
    pub is_binary: bool,
    /// A ping is to be sent.
    owes_ping: bool,
    is_unflushed: bool,
}

impl Connection {
    /// Connects, and waits for the greeting.
    ///
    /// # Errors
    /// Why not, and what follows.
    pub async fn open(
        endpoint: &Endpoint,
        token: Option<&str>,
        options: &LinkOptions,
    ) -> Result<Self, Ending> {
        let is_reached = AtomicBool::new(false);
        let opening = async {
            let lost = |error| Ending::lost(format!("no connection to {endpoint}: {error}"));
            let stream = dial(endpoint, options.tls.as_ref()).await.map_err(lost)?;
            is_reached.store(true, Ordering::Relaxed);
            Self::greeted(stream, (endpoint, token), options).await
        };
        timeout(options.connect_timeout, opening).await.unwrap_or_else(|_| {
            let seconds = options.connect_timeout.as_secs_f64();
            let late = format!("no connection to {endpoint} within {seconds} s");
            let is_blocked = is_reached.load(Ordering::Relaxed);
            Err(Ending { is_blocked, ..Ending::lost(late) })
        })
    }

    /// The same over a connection that somebody else made, TLS included.
    ///
    /// # Errors
    /// Why not, and what follows.
    pub async fn over(
        stream: Box<dyn Duplex>,
        endpoint: &Endpoint,
        token: Option<&str>,
        options: &LinkOptions,
    ) -> Result<Self, Ending> {
        let greeted = Self::greeted(Heard::new(stream), (endpoint, token), options);
        timeout(options.connect_timeout, greeted).await.unwrap_or_else(|_| {
            let seconds = options.connect_timeout.as_secs_f64();
            Err(Ending::blocked(format!("no greeting of {endpoint} within {seconds} s")))
        })
    }

    async fn greeted(
        stream: Heard,
        (endpoint, token): (&Endpoint, Option<&str>),
        options: &LinkOptions,
    ) -> Result<Self, Ending> {
        let (header, first) = if options.token_first { (None, token) } else { (token, None) };
        let request = request(endpoint, header)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(options.message_bytes_max))
            .max_frame_size(Some(options.message_bytes_max));
        let opening = client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, response) = opening.map_err(|error| refused(endpoint, &error))?;
        let protocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let is_binary = protocol.is_some_and(|protocol| protocol == BIN);
        if let Some(token) = first {
            // Where it is not sent, what the server said before it went is read below.
            let _ = socket.send(Message::text(command::auth(FIRST_ID, token))).await;
        }
        let hello = greeting(socket.next().await)?;
        if first.is_some() {
            authenticated(&mut socket).await?;
        }
        Ok(Self { socket, hello, is_binary, owes_ping: false, is_unflushed: false })
    }

    /// Grows whenever anything comes.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.socket.get_ref().count
    }

    /// Asks for an answer: [`Incoming::Pong`].
    pub fn ping(&mut self) {
        self.owes_ping = true;
    }

    /// Sends what `next` has, as fast as the socket takes it, until something comes. Nothing is
    /// lost when it is dropped: `next` is asked only for what is sent.
    ///
    /// # Errors
    /// The end of the connection.
    pub async fn incoming<T: Into<Utf8Bytes>>(
        &mut self,
        mut next: impl FnMut() -> Option<T>,
    ) -> Result<Incoming, Ending> {
        loop {
            let message = poll_fn(|cx| {
                let wrote = self.poll_write(cx, &mut next);
                match (self.socket.poll_next_unpin(cx), wrote) {
                    (Poll::Ready(came), _) => Poll::Ready(came),
                    // What the other side said before it went is read first.
                    (Poll::Pending, Err(error)) => Poll::Ready(Some(Err(error))),
                    (Poll::Pending, Ok(())) => Poll::Pending,
                }
            });
            match message.await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text)),
                Some(Ok(Message::Binary(bytes))) => return Ok(Incoming::Binary(bytes)),
                Some(Ok(Message::Pong(_))) => return Ok(Incoming::Pong),
                Some(Ok(Message::Ping(_))) => self.is_unflushed = true,
                Some(Ok(Message::Frame(_))) => {}
                ended => return Err(ending_of(ended)),
            }
        }
    }

    /// Sends what `next` has, as fast as the socket takes it, and reads nothing: for whoever has no
    /// room for more. Goes on until the connection fails. Nothing is lost when it is dropped.
    ///
    /// # Errors
    /// The end of the connection.
    pub async fn outgoing<T: Into<Utf8Bytes>>(
        &mut self,
        mut next: impl FnMut() -> Option<T>,
    ) -> Result<Infallible, Ending> {
        poll_fn(|cx| match self.poll_write(cx, &mut next) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(ending_of(Some(Err(error))))),
        })
        .await
    }

    fn poll_write<T: Into<Utf8Bytes>>(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut impl FnMut() -> Option<T>,
    ) -> Result<(), Error> {
        let mut socket = std::pin::Pin::new(&mut self.socket);
        while let Poll::Ready(ready) = socket.as_mut().poll_ready(cx) {
            ready?;
            let message = if self.owes_ping {
                self.owes_ping = false;
                Message::Ping(Bytes::new())
            } else if let Some(text) = next() {
                Message::Text(text.into())
            } else {
                break;
            };
            self.is_unflushed = true;
            socket.as_mut().start_send(message)?;
        }
        if self.is_unflushed
            && let Poll::Ready(flushed) = socket.poll_flush(cx)
        {
            flushed?;
            self.is_unflushed = false;
        }
        Ok(())
    }

    /// Sends what `next` still has, says farewell, and waits a moment for the answer.
    pub async fn close(mut self, mut next: impl FnMut() -> Option<String>) {
        let farewell = async {
            while let Some(text) = next() {
                self.socket.feed(Message::text(text)).await?;
            }
            self.socket.close(None).await?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, Error>(())
        };
        // Whatever happens, it is over.
        let _ = timeout(FAREWELL, farewell).await;
    }
}

fn request(endpoint: &Endpoint, token: Option<&str>) -> Result<Request, Ending> {
    let wrong = |error: &dyn std::fmt::Display| Ending::for_good(format!("no request: {error}"));
    let url = endpoint.multiplexed();
    let mut request = url.into_client_request().map_err(|error| wrong(&error))?;
    let protocols = HeaderValue::from_str(&format!("{BIN}, {JSON}"));
    let protocols = protocols.map_err(|error| wrong(&error))?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    if let Some(token) = token {
        // The error does not show it.
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| wrong(&"the token is none"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    Ok(request)
}

fn greeting(first: Option<Result<Message, Error>>) -> Result<Hello, Ending> {
    let text = match first {
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Utf8Bytes::default(),
        // Where nobody says why, it may be that nothing passes.
        ended => {
            let ending = ending_of(ended);
            return Err(Ending { is_blocked: ending.status.is_none(), ..ending });
        }
    };
    let hello = serde_json::from_str::<Told<'_>>(&text).ok().and_then(|told| told.hello);
    hello.filter(|hello| hello.heartbeat_ms > 0).ok_or_else(|| {
        let shown: String = text.chars().take(200).collect();
        Ending::lost(format!("no greeting came first, but `{shown}`"))
    })
}

/// Waits for what the server says of the token that was the first message.
async fn authenticated(socket: &mut WebSocketStream<Heard>) -> Result<(), Ending> {
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            ended => return Err(ending_of(ended)),
        };
        let told: Told<'_> = serde_json::from_str(&text).unwrap_or_default();
        match told.error {
            Some(error) => return Err(Ending::of_status(401, &error.message, None)),
            None if told.authenticated.is_some() => return Ok(()),
            // A beat.
            None => {}
        }
    }
}

fn ending_of(ended: Option<Result<Message, Error>>) -> Ending {
    match ended {
        Some(Ok(Message::Close(Some(frame)))) => Ending::of_close(frame.code.into(), &frame.reason),
        Some(Err(Error::Capacity(CapacityError::MessageTooLong { size, max_size }))) => {
            Ending::too_large(format!("a message of {size} bytes, more than {max_size}"))
        }
        Some(Err(error)) => Ending::lost(format!("the connection was lost: {error}")),
        _ => Ending::lost("the connection was lost"),
    }
}

fn refused(endpoint: &Endpoint, error: &Error) -> Ending {
    match error {
        Error::Http(response) => refusal(response),
        error => Ending::blocked(format!("no connection to {endpoint}: {error}")),
    }
}

fn refusal(response: &Response) -> Ending {
    let body = response.body().as_deref().unwrap_or_default();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok());
    Ending::of_handshake(response.status().as_u16(), body, retry_after)
}
