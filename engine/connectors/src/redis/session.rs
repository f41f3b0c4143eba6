//! One connection to Redis: greeting, subscriptions, then messages both ways until it is lost. Must
//! not keep anything that a later connection needs.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult,
    Value,
};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::bridge::batch::Sent;
use crate::bridge::context::Context;
use crate::bridge::supervisor::SessionError;
use crate::redis::channels::{gets, is_pattern};
use crate::redis::inbox::{Event, Inbox, Message};
use crate::redis::kept::Kept;

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// A connection that is silent is asked for a sign of life so often.
const ASK: Duration = Duration::from_secs(10);

/// The answers to a batch, and what of it was refused.
type Sending = Pin<Box<dyn Future<Output = Result<Vec<bool>, RedisError>>>>;

/// See the file header.
pub struct Session {
    connection: MultiplexedConnection,
    inbox: Inbox,
    /// The task that moves the bytes.
    driver: JoinHandle<()>,
}

impl Session {
    /// Connects, and asks for all that is to come in.
    pub async fn open(kept: &Kept, context: &Context) -> Result<Self, SessionError> {
        let common = context.common();
        let stream = kept.address.dial(common.credentials.ca_file.as_deref()).await?;
        let inbox = Inbox::default();
        let pushed = inbox.clone();
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |info: PushInfo| {
                pushed.push(info);
                Ok::<(), ::redis::aio::SendError>(())
            });
        let who = who(context)?;
        let connecting = MultiplexedConnection::new_with_config(&who, stream, config);
        let connected = tokio::time::timeout(ANSWER, connecting).await;
        let silent = |_| SessionError::new("connect", "Redis does not answer");
        let (connection, moving) = connected.map_err(silent)?.map_err(|error| refused(&error))?;
        let driver = tokio::task::spawn_local(moving);
        let mut session = Self { connection, inbox, driver };
        for name in &common.inputs {
            session.subscribe(name).await?;
        }
        Ok(session)
    }

    async fn subscribe(&mut self, name: &str) -> Result<(), SessionError> {
        let asked = if is_pattern(name) {
            self.connection.psubscribe(name).await
        } else {
            self.connection.subscribe(name).await
        };
        asked.map_err(|error| {
            let SessionError { reason, message } = refused(&error);
            SessionError::new(reason, format!("subscription to `{name}`: {message}"))
        })
    }

    /// Moves messages; ends only by an error.
    pub async fn run(self, kept: &mut Kept, context: &mut Context) -> Result<(), SessionError> {
        let mut sending: Option<Sending> = None;
        let mut asks = interval(ASK);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if sending.is_none() && !kept.batch.is_empty() {
                sending = Some(self.send(kept, context));
            }
            tokio::select! {
                event = self.inbox.next() => take(kept, context, event).await?,
                out = context.next_out(), if kept.batch.is_empty() => {
                    let channel = |name: &str| kept.settings.separator.channel(name).ok_or("name");
                    kept.batch.gather(out, context, channel);
                }
                answers = answered(&mut sending) => {
                    let refusals = answers.map_err(|error| lost(&error))?;
                    self.confirm(kept, context, &refusals);
                    sending = None;
                }
                _ = asks.tick(), if sending.is_none() => {
                    let mut connection = self.connection.clone();
                    sending = Some(Box::pin(async move {
                        ::redis::cmd("PING").query_async::<Value>(&mut connection).await?;
                        Ok(Vec::new())
                    }));
                }
            }
        }
    }

    /// Sends the batch in one go.
    fn send(&self, kept: &Kept, context: &Context) -> Sending {
        let mut pipe = ::redis::pipe();
        for message in kept.batch.messages() {
            let times = echoes(context, message);
            self.inbox.expect(message.name.as_bytes(), &message.payload, times);
            pipe.cmd("PUBLISH").arg(&message.name).arg(&message.payload[..]);
        }
        pipe.ignore_errors();
        let mut connection = self.connection.clone();
        Box::pin(async move {
            let answers: Vec<RedisResult<Value>> = pipe.query_async(&mut connection).await?;
            Ok(answers.iter().map(Result::is_err).collect())
        })
    }

    fn confirm(&self, kept: &mut Kept, context: &Context, refusals: &[bool]) {
        let is_refused = |i: usize| refusals.get(i).copied().unwrap_or_default();
        for (i, message) in kept.batch.messages().iter().enumerate() {
            if is_refused(i) {
                let times = echoes(context, message);
                self.inbox.withdraw(message.name.as_bytes(), &message.payload, times);
            }
        }
        kept.batch.confirm(context, is_refused);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// How many times a message of ours comes back.
fn echoes(context: &Context, message: &Sent) -> u32 {
    let gets = |name: &&String| gets(name, message.name.as_bytes());
    context.common().inputs.iter().filter(gets).count() as u32
}

/// The end of what is under way; never ends while nothing is.
async fn answered(sending: &mut Option<Sending>) -> Result<Vec<bool>, RedisError> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

async fn take(kept: &Kept, context: &mut Context, event: Event) -> Result<(), SessionError> {
    match event {
        Event::Message(message) => publish(kept, context, &message).await,
        Event::Dropped(messages) => {
            context.counters().dropped("overflow", messages);
            let bridge = &context.common().name;
            tracing::warn!(
                bridge,
                messages,
                "dropped: they came faster than the engine takes them"
            );
        }
        Event::Lost => return Err(SessionError::new("closed", "Redis closed the connection")),
    }
    Ok(())
}

async fn publish(kept: &Kept, context: &mut Context, message: &Message) {
    let name = kept.settings.separator.name(&message.channel);
    let topic = name.and_then(|name| context.map_in(&name).ok());
    let Some(topic) = topic else { return context.counters().dropped("topic", 1) };
    let kind = kept.settings.payload.kind(&message.payload);
    if context.publish(&topic, kind, &message.payload).await.is_err() {
        // The engine refuses it for good; it has counted why.
        context.counters().dropped("refused", 1);
    }
}

/// Who this engine is for Redis.
fn who(context: &Context) -> Result<RedisConnectionInfo, SessionError> {
    let credentials = &context.common().credentials;
    let password = credentials.password();
    let password = password.map_err(|error| SessionError::new("credentials", error))?;
    let mut info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &credentials.user {
        info = info.set_username(user);
    }
    if let Some(password) = password {
        info = info.set_password(password);
    }
    Ok(info)
}

fn refused(error: &RedisError) -> SessionError {
    let words = error.to_string();
    let is_denied = matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"));
    if is_denied || error.kind() == ::redis::ErrorKind::AuthenticationFailed {
        let message = format!("user or password are wrong, or lack a right: {words}");
        return SessionError::new("credentials", message);
    }
    SessionError::new("refused", format!("Redis refuses: {words}"))
}

fn lost(error: &RedisError) -> SessionError {
    SessionError::new("closed", format!("the connection was lost: {error}"))
}
