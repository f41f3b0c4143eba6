//! One session with a broker: a connection for each direction, what is declared over them, and the
//! loop that moves messages both ways. Must not keep anything beyond its end.
//!
//! A broker that is short of memory or disk reads nothing more from a connection that publishes.
//! The acknowledgements of what comes in go over another one, so they are not held up.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer, DefaultConnectionBuilder, ErrorKind,
    ExchangeKind,
};
use tokio::time::{sleep, timeout};

use crate::amqp::failure::lost;
use crate::amqp::incoming::Incoming;
use crate::amqp::keys;
use crate::amqp::outgoing::Sending;
use crate::amqp::settings::Settings;
use crate::bridge::context::{Context, Out, stopped};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;
use crate::outbox::Outbox;

/// How long a connection may take, from its first packet to the first consumer.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// How long confirmations are waited for when the bridge is to end.
const LAST_CONFIRMS: Duration = Duration::from_secs(2);
/// How long a published delivery waits for others to be acknowledged with.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(5);
/// What the broker calls it when somebody may not do something.
const ACCESS_REFUSED: u16 = 403;
/// Exchanges of these names are the broker's own and cannot be declared.
const RESERVED: &str = "amq.";

/// A connection with a channel for each direction that is used.
pub struct Session {
    connections: Vec<Connection>,
    /// What the broker, or the loss of a connection, says of connections as a whole.
    events: SelectAll<BoxStream<'static, lapin::Event>>,
    incoming: Option<(Consumer, Incoming)>,
    sending: Option<Sending>,
}

/// What happens next in a session.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Event {
    Delivered(Option<Result<lapin::message::Delivery, lapin::Error>>),
    /// The oldest delivery stands in its feed.
    Stands(Result<u64, SessionError>),
    /// Nothing else came: what stands can be acknowledged.
    Idle,
    Connection(lapin::Event),
    Out(Out),
    Confirmed(Result<(), SessionError>),
    Stop,
}

impl Session {
    /// Connects, declares what the settings say, and begins to consume.
    ///
    /// # Errors
    /// Why not.
    pub async fn connect(
        common: &Common,
        settings: &Settings,
        mark: &str,
    ) -> Result<Self, SessionError> {
        let connecting = Self::try_connect(common, settings, mark);
        timeout(CONNECT_TIME, connecting).await.unwrap_or_else(|_| {
            let message = format!("not connected within {} s", CONNECT_TIME.as_secs());
            Err(SessionError::new("connect", message))
        })
    }

    async fn try_connect(
        common: &Common,
        settings: &Settings,
        mark: &str,
    ) -> Result<Self, SessionError> {
        let mut session = Self {
            connections: Vec::new(),
            events: SelectAll::new(),
            incoming: None,
            sending: None,
        };
        if let Some(queue) = &settings.queue {
            let connection = session.open(common).await?;
            let incoming = consume(connection, common, settings, (queue, mark)).await?;
            session.incoming = Some(incoming);
        }
        if !common.outputs.is_empty() {
            let channel = session.open(common).await?.create_channel().await.map_err(lost)?;
            declare_exchange(&channel, settings).await?;
            let options = ConfirmSelectOptions::default();
            channel.confirm_select(options).await.map_err(refused)?;
            session.sending = Some(Sending::new(channel, settings, mark));
        }
        Ok(session)
    }

    /// Another connection.
    async fn open(&mut self, common: &Common) -> Result<&Connection, SessionError> {
        let connection = open(common).await?;
        self.events.push(connection.events_listener().boxed());
        let at = self.connections.len();
        self.connections.push(connection);
        Ok(&self.connections[at])
    }

    /// Moves messages until the connection is lost or the bridge is to end.
    ///
    /// # Errors
    /// Why the connection was lost.
    pub async fn run(
        &mut self,
        outbox: &mut Outbox,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        let mut stop = pin!(stopped(context.stopping()));
        loop {
            if let Some(sending) = &mut self.sending {
                sending.send(outbox).await?;
            }
            match self.next(outbox, context, stop.as_mut()).await {
                Event::Delivered(delivery) => self.delivered(delivery, context).await?,
                Event::Stands(tag) => self.stands(tag?).await?,
                Event::Idle => self.acknowledge().await?,
                Event::Connection(event) => heard(event, context)?,
                Event::Out(out) => outbox.push(out, context, keys::key_of),
                Event::Confirmed(word) => word.map(|()| outbox.settle(true, context))?,
                Event::Stop => return self.end(outbox, context).await,
            }
        }
    }

    async fn next(
        &mut self,
        outbox: &Outbox,
        context: &mut Context,
        stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Event {
        let both = self.incoming.as_mut().map(|(consumer, incoming)| (consumer, incoming));
        let (mut consumer, mut incoming) = both.unzip();
        let is_behind = incoming.as_ref().is_some_and(|incoming| incoming.is_behind());
        let may_take = incoming.as_ref().is_some_and(|incoming| incoming.has_room());
        let delivery = async {
            match &mut consumer {
                Some(consumer) => consumer.next().await,
                None => std::future::pending().await,
            }
        };
        let stands = async {
            match &mut incoming {
                Some(incoming) => incoming.next().await,
                None => std::future::pending().await,
            }
        };
        let confirmed = async {
            match &mut self.sending {
                Some(sending) => sending.confirmed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => Event::Stop,
            word = confirmed => Event::Confirmed(word),
            Some(event) = self.events.next() => Event::Connection(event),
            tag = stands => Event::Stands(tag),
            delivery = delivery, if may_take => Event::Delivered(delivery),
            () = sleep(ACKNOWLEDGE_AFTER), if is_behind => Event::Idle,
            out = context.next_out(), if outbox.has_room() => Event::Out(out),
        }
    }

    async fn delivered(
        &mut self,
        delivery: Option<Result<lapin::message::Delivery, lapin::Error>>,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        let delivery = delivery.ok_or_else(|| {
            SessionError::new("closed", "the broker cancelled the consumer: is the queue gone?")
        })?;
        match &mut self.incoming {
            Some((_, incoming)) => incoming.take(delivery.map_err(lost)?, context).await,
            None => Ok(()),
        }
    }

    async fn stands(&mut self, tag: u64) -> Result<(), SessionError> {
        match &mut self.incoming {
            Some((_, incoming)) => incoming.stands(tag).await,
            None => Ok(()),
        }
    }

    async fn acknowledge(&mut self) -> Result<(), SessionError> {
        match &mut self.incoming {
            Some((_, incoming)) => incoming.acknowledge().await,
            None => Ok(()),
        }
    }

    /// Acknowledges what was published and waits a moment for the broker's word on what was sent.
    async fn end(
        &mut self,
        outbox: &mut Outbox,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        self.acknowledge().await?;
        let confirms = async {
            while let Some(sending) = self.sending.as_mut().filter(|_| !outbox.is_empty()) {
                sending.confirmed().await?;
                outbox.settle(true, context);
            }
            Ok(())
        };
        // What is not confirmed then is counted by who keeps it.
        timeout(LAST_CONFIRMS, confirms).await.unwrap_or(Ok(()))?;
        let closing = async {
            for connection in &self.connections {
                connection.close(200, "the engine stops".into()).await.map_err(lost)?;
            }
            Ok(())
        };
        // A broker that reads nothing more cannot be told.
        timeout(LAST_CONFIRMS, closing).await.unwrap_or(Ok(()))
    }
}

/// Acts on what is said of a connection as a whole.
fn heard(event: lapin::Event, context: &Context) -> Result<(), SessionError> {
    let bridge = &context.common().name;
    match event {
        lapin::Event::ConnectionBlocked(reason) => {
            context.counters().error("blocked");
            tracing::warn!(bridge, reason, "the broker takes nothing for now");
        }
        lapin::Event::ConnectionUnblocked => tracing::info!(bridge, "the broker takes messages"),
        lapin::Event::Error(error) => return Err(lost(error)),
        _ => {}
    }
    Ok(())
}

async fn open(common: &Common) -> Result<Connection, SessionError> {
    let uri = address(common).map_err(|error| SessionError::new("settings", error))?;
    let name = format!("gridcast {}", common.name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let mut builder = DefaultConnectionBuilder::new().map_err(refused)?;
    if let Some(path) = &common.credentials.ca_file {
        let chain = std::fs::read_to_string(path).map_err(|error| {
            SessionError::new("credentials", format!("cannot read {}: {error}", path.display()))
        })?;
        builder =
            builder.with_tls_config(OwnedTLSConfig { identity: None, cert_chain: Some(chain) });
    }
    builder.with_uri(uri).with_properties(properties).connect().await.map_err(refused)
}

/// Opens a channel, declares what is to be, and consumes.
async fn consume(
    connection: &Connection,
    common: &Common,
    settings: &Settings,
    (queue, mark): (&str, &str),
) -> Result<(Consumer, Incoming), SessionError> {
    let channel = connection.create_channel().await.map_err(lost)?;
    if settings.declare {
        declare_exchange(&channel, settings).await?;
        declare_queue(&channel, common, settings, queue).await?;
    }
    let options = BasicQosOptions::default();
    channel.basic_qos(settings.prefetch, options).await.map_err(refused)?;
    let tag = format!("gridcast-{}", common.name);
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), tag.into(), options, arguments);
    Ok((consumer.await.map_err(refused)?, Incoming::new(channel, settings.payload, mark)))
}

async fn declare_exchange(channel: &Channel, settings: &Settings) -> Result<(), SessionError> {
    if !settings.declare || settings.exchange.starts_with(RESERVED) {
        return Ok(());
    }
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let (name, arguments) = (settings.exchange.as_str().into(), FieldTable::default());
    let declared = channel.exchange_declare(name, ExchangeKind::Topic, options, arguments);
    declared.await.map_err(refused)
}

async fn declare_queue(
    channel: &Channel,
    common: &Common,
    settings: &Settings,
    queue: &str,
) -> Result<(), SessionError> {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    declared.await.map_err(refused)?;
    for key in &common.inputs {
        let (exchange, key) = (settings.exchange.as_str().into(), key.as_str().into());
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(queue.into(), exchange, key, options, arguments);
        bound.await.map_err(refused)?;
    }
    Ok(())
}

/// The address with user and password.
///
/// # Errors
/// What is wrong with the address, or that the password cannot be read.
pub fn address(common: &Common) -> Result<AMQPUri, String> {
    common.refuse_password_in_url()?;
    let mut uri: AMQPUri = common.url.parse().map_err(|error| format!("url: {error}"))?;
    // The client takes an IPv6 address for no host at all, and would connect to this one.
    if let Some(address) = common.url_authority().rsplit('@').next().and_then(ipv6) {
        uri.authority.host = address.to_owned();
    }
    let credentials = &common.credentials;
    if let Some(user) = &credentials.user {
        uri.authority.userinfo.username = user.clone();
    }
    if let Some(password) = credentials.password().map_err(|error| error.to_string())? {
        uri.authority.userinfo.password = password;
    }
    Ok(uri)
}

/// The IPv6 address of a host and port, without the brackets that a URL has around it.
fn ipv6(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.split_once(']').map(|(address, _)| address)
}

/// Why the broker does not do what it was asked.
fn refused(error: lapin::Error) -> SessionError {
    let word = match error.kind() {
        ErrorKind::ProtocolError(said) if said.get_id() == ACCESS_REFUSED => "credentials",
        ErrorKind::ProtocolError(_) => "refused",
        _ => "connect",
    };
    SessionError::new(word, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Reader;

    fn address_of(url: &str) -> Result<AMQPUri, String> {
        let table = format!("name = \"a\"\nkind = \"amqp\"\nurl = \"{url}\"").parse().unwrap();
        address(&Common::take(&mut Reader::new("bridge", 0, &table)).unwrap())
    }

    #[test]
    fn hosts_are_names_and_addresses_of_both_families() {
        for (url, host, port) in [
            ("amqp://broker", "broker", 5672),
            ("amqp://10.0.0.1:99/%2f", "10.0.0.1", 99),
            ("amqp://[::1]:99/%2f", "::1", 99),
            ("amqps://me@[fe80::1]/a", "fe80::1", 5671),
        ] {
            let authority = address_of(url).unwrap().authority;
            assert_eq!((authority.host.as_str(), authority.port), (host, port), "{url}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let error = address_of("amqp://me:secret@broker/%2f").unwrap_err();
        assert!(error.contains("`password_file`") && !error.contains("secret"), "{error}");
    }
}
