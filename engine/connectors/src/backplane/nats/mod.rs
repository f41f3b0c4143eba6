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

/// How long a connection may take to come up, with whichever of the servers.
const CONNECT: Duration = Duration::from_secs(5);
/// How often the server is asked whether it is there; after two questions it is not.
const PING: Duration = Duration::from_secs(2);
/// Servers that are tried within [`CONNECT`]; of more, others are tried the next time.
const SERVERS_MAX: usize = 5;
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
        let connecting = options.connect(servers(&settings.url));
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

/// The servers of a cluster, of which one is used. They are tried in another order each time, until
/// one answers.
fn servers(url: &str) -> Vec<&str> {
    url.split(',').map(str::trim).filter(|one| !one.is_empty()).collect()
}

async fn options(settings: &Backplane) -> Result<ConnectOptions, SessionError> {
    let refused = |error: &dyn ToString| SessionError::new("credentials", error.to_string());
    let credentials = &settings.credentials;
    let tried = servers(&settings.url).len().clamp(1, SERVERS_MAX);
    let mut options = ConnectOptions::new()
        .name(format!("gridcast {}", settings.node))
        // One that stands still leaves time for another.
        .connection_timeout(CONNECT / tried as u32)
        .ping_interval(PING)
        // One round of all.
        .max_reconnects(tried)
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

#[cfg(test)]
mod tests {
    use super::servers;

    #[test]
    fn servers_have_commas_between_them() {
        assert_eq!(servers("nats://a:4222"), ["nats://a:4222"]);
        assert_eq!(servers("nats://a:1, nats://b:2 ,"), ["nats://a:1", "nats://b:2"]);
    }
}
