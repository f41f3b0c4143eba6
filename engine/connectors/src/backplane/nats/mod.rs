//! The back-plane on NATS: its core for relays, JetStream for logs. Owns connections and what a
//! domain is called there. Must not know what batches hold.

pub mod domain;
pub mod log;
pub mod relay;

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How often the server is asked whether it is there; after two questions it is not.
const PING: Duration = Duration::from_secs(2);
/// Messages that wait here for one subscription: 64 MiB of full batches.
const WAITING_MAX: usize = 256;

/// A connection that says when it is lost. It does not come back by itself: a session ends with it,
/// because what was on its way then is unknown.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    is_lost: watch::Receiver<bool>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn open(settings: &Backplane) -> Result<Self, SessionError> {
        let (lose, is_lost) = watch::channel(false);
        let options = options(settings).await?.event_callback(move |event| {
            let lose = lose.clone();
            async move { tell(&event, &lose) }
        });
        let connecting = options.connect(settings.url.as_str());
        let client = tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| SessionError::new("connect", "no answer within 5 s"))?
            .map_err(|error| SessionError::new("connect", error))?;
        Ok(Self { client, is_lost })
    }

    /// Resolves when the connection is lost.
    async fn lost(&mut self) -> SessionError {
        // The sender lives as long as the client.
        let _ = self.is_lost.wait_for(|is_lost| *is_lost).await;
        SessionError::new("closed", "the connection to NATS was lost")
    }
}

fn tell(event: &Event, lose: &watch::Sender<bool>) {
    match event {
        Event::Connected => {}
        Event::Disconnected | Event::Closed => {
            lose.send_replace(true);
        }
        // What is dropped is missed by its number, and told.
        other => tracing::warn!(event = %other, "NATS"),
    }
}

async fn options(settings: &Backplane) -> Result<ConnectOptions, SessionError> {
    let refused = |error: &dyn ToString| SessionError::new("credentials", error.to_string());
    let credentials = &settings.credentials;
    let mut options = ConnectOptions::new()
        .name(format!("gridcast {}", settings.node))
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        .max_reconnects(1)
        .subscription_capacity(WAITING_MAX);
    if let Some(path) = &settings.creds_file {
        options = options.credentials_file(path).await.map_err(|error| refused(&error))?;
    }
    if let Some(token) = credentials.token().map_err(|error| refused(&error))? {
        options = options.token(token);
    }
    if let Some(user) = &credentials.user {
        let password = credentials.password().map_err(|error| refused(&error))?;
        options = options.user_and_password(user.clone(), password.unwrap_or_default());
    }
    if let Some(path) = &credentials.ca_file {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(options)
}
