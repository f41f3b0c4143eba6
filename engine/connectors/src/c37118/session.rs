//! One session of a bridge: starts what reads, works on events in their order, speaks with the
//! devices, and ends connections that are silent or no C37.118. Must not know what is in a frame.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gridcast::clock::{Clock, unix_ns};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, UdpSocket, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::command::{Command, Wanted};
use super::dialogue::Dialogue;
use super::events::{self, EVENTS_MAX, Event, Events, Opened};
use super::intake::{Heard, Intake};
use super::settings::{Commands, Device, Settings, Source};
use super::stamp::Stamp;
use super::stream::{Cut, Cutter, datagram};
use super::streams::Peer;
use super::told::Told;
use crate::bridge::context::Context;
use crate::bridge::supervisor::SessionError;

/// How often is looked whether a device is silent.
const LOOK: Duration = Duration::from_millis(100);
/// How long a command may take to write, which are a few bytes.
const WRITE: Duration = Duration::from_secs(1);

/// See the file header.
#[derive(Debug)]
pub struct Session<'a> {
    settings: &'a Settings,
    clock: Clock,
    intake: Intake,
    connections: HashMap<Peer, Connection>,
    /// By device where these are known, else of all who connect; and by why a connection ended.
    told: Told<(Option<Peer>, &'static str)>,
    /// Whether the session ends with its only connection.
    has_only_one: bool,
    /// What reads. Ends with the session.
    readers: JoinSet<()>,
}

/// A connection, or a device that is asked by datagrams.
#[derive(Debug)]
struct Connection {
    cutter: Cutter,
    dialogue: Option<Dialogue>,
    heard_ns: u64,
    writer: Writer,
    /// Its reader ends when this is dropped.
    _closer: Option<oneshot::Sender<()>>,
}

/// Which way commands go.
#[derive(Debug)]
struct Writer {
    way: Way,
    /// The IDCODE that is asked; none where nothing is.
    id: Option<u16>,
    edition: Wanted,
}

#[derive(Debug)]
enum Way {
    Connection(OwnedWriteHalf),
    Datagrams(Arc<UdpSocket>, SocketAddr),
}

impl<'a> Session<'a> {
    /// A session that has not begun.
    #[must_use]
    pub fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            clock: Clock::start(),
            intake: Intake::new(settings),
            connections: HashMap::new(),
            told: Told::default(),
            has_only_one: false,
            readers: JoinSet::new(),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let (events, mut happened) = mpsc::channel(EVENTS_MAX);
        self.start(context, &events).await?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = happened.recv() => self.work(context, event).await?,
                _ = look.tick() => self.look(context).await?,
            }
        }
    }

    async fn start(&mut self, context: &mut Context, events: &Events) -> Result<(), SessionError> {
        let settings = self.settings;
        match &settings.source {
            Source::Devices(devices) => {
                self.has_only_one = devices.len() == 1;
                for (number, device) in (0..).zip(devices) {
                    self.keep(device, Peer(number), events);
                }
            }
            Source::Listener { address, id, connections_max } => {
                let listener = TcpListener::bind(address).await.map_err(|error| {
                    SessionError::new("connect", format!("tcp-listen://{address}: {error}"))
                })?;
                let accept = events::accept(listener, *id, *connections_max, events.clone());
                self.readers.spawn(accept);
                context.is_up();
            }
            Source::Datagrams { address, interface, commands, receive_buffer_bytes } => {
                let socket = events::bind(*address, *interface, *receive_buffer_bytes)
                    .map_err(|error| SessionError::new("connect", error))?;
                self.receive(context, Arc::new(socket), commands.as_ref(), events).await?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, device: &Device, peer: Peer, events: &Events) {
        let answer = Duration::from_nanos(self.settings.patience.answer_ns);
        let only = self.has_only_one;
        self.readers.spawn(events::keep(device.clone(), peer, answer, only, events.clone()));
    }

    /// Takes datagrams, and asks for them where a device is to be asked.
    async fn receive(
        &mut self,
        context: &mut Context,
        socket: Arc<UdpSocket>,
        commands: Option<&Commands>,
        events: &Events,
    ) -> Result<(), SessionError> {
        // Where one device is asked, its configuration and its data may come either way.
        let owner = commands.map(|_| Peer(0));
        let (reader, failed) = (Arc::clone(&socket), events.clone());
        let readings = events.clone();
        self.readers.spawn(async move {
            if let Err(error) = events::receive(reader, owner, readings).await {
                // Where nobody listens any more, the session is over.
                let _ = failed.send(Event::Closed(Peer(0), format!("udp: {error}"))).await;
            }
        });
        self.has_only_one = true;
        match commands {
            None => context.is_up(),
            Some(Commands::Connection(device)) => self.keep(device, Peer(0), events),
            Some(Commands::Datagrams(device)) => {
                let way = Way::Datagrams(socket, resolve(&device.address).await?);
                self.open(context, (Peer(0), way), Some(device.id), None).await?;
            }
        }
        Ok(())
    }

    async fn work(&mut self, context: &mut Context, event: Event) -> Result<(), SessionError> {
        match event {
            Event::Opened(Opened { peer, id, writer, closer }) => {
                let way = Way::Connection(writer);
                self.open(context, (peer, way), id, Some(closer)).await
            }
            Event::Bytes(peer, bytes) => self.take_bytes(context, peer, &bytes).await,
            Event::Datagram(peer, bytes) => self.take_datagram(context, peer, &bytes).await,
            Event::Closed(peer, why) => self.give_up(context, peer, "closed", &why),
        }
    }

    async fn open(
        &mut self,
        context: &mut Context,
        (peer, way): (Peer, Way),
        id: Option<u16>,
        closer: Option<oneshot::Sender<()>>,
    ) -> Result<(), SessionError> {
        let now_ns = self.clock.now_ns();
        let wanted = self.settings.configuration;
        let mut connection = Connection {
            cutter: Cutter::default(),
            dialogue: None,
            heard_ns: now_ns,
            writer: Writer { way, id, edition: wanted },
            _closer: closer,
        };
        if id.is_some() {
            let (dialogue, first) = Dialogue::begin(wanted, self.settings.patience, now_ns);
            connection.dialogue = Some(dialogue);
            connection.writer.send(first).await?;
        }
        self.connections.insert(peer, connection);
        context.is_up();
        Ok(())
    }

    async fn take_bytes(
        &mut self,
        context: &mut Context,
        peer: Peer,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let now_ns = self.clock.now_ns();
        let Some(connection) = self.connections.get_mut(&peer) else { return Ok(()) };
        connection.cutter.add(bytes);
        while let Some(cut) = connection.cutter.next() {
            let is_frame = matches!(cut, Cut::Frame(_));
            let heard = self.intake.take(context, peer, cut, now_ns).await;
            if is_frame {
                connection.heard_ns = now_ns;
            }
            answer(&mut connection.dialogue, &mut connection.writer, heard, is_frame, now_ns)
                .await?;
        }
        if connection.cutter.is_hopeless() {
            return self.give_up(context, peer, "protocol", "what it sends is no C37.118");
        }
        Ok(())
    }

    async fn take_datagram(
        &mut self,
        context: &mut Context,
        peer: Peer,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let now_ns = self.clock.now_ns();
        let mut cuts = Vec::new();
        datagram(bytes, |cut| cuts.push(cut));
        for cut in cuts {
            let is_frame = matches!(cut, Cut::Frame(_));
            let heard = self.intake.take(context, peer, cut, now_ns).await;
            let Some(connection) = self.connections.get_mut(&peer) else { continue };
            connection.heard_ns = now_ns;
            answer(&mut connection.dialogue, &mut connection.writer, heard, is_frame, now_ns)
                .await?;
        }
        Ok(())
    }

    /// Looks for devices that are silent.
    async fn look(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let now_ns = self.clock.now_ns();
        let mut silent = Vec::new();
        for (peer, connection) in &mut self.connections {
            let said = match &mut connection.dialogue {
                Some(dialogue) => dialogue.due(now_ns),
                None => Ok(None),
            };
            let quiet_ns = now_ns.saturating_sub(connection.heard_ns);
            match said {
                Ok(Some(command)) => connection.writer.send(command).await?,
                Err(reason) => silent.push((*peer, reason.to_string())),
                Ok(None) if connection.dialogue.is_some() => {}
                Ok(None) if quiet_ns >= self.settings.patience.silence_ns => {
                    silent.push((*peer, "nothing came for `silence_ms`".to_owned()));
                }
                Ok(None) => {}
            }
        }
        silent.iter().try_for_each(|(peer, why)| self.give_up(context, *peer, "silent", why))
    }

    /// Ends a connection, or notes that it has ended. Its device is tried again, by the session or
    /// by the next one.
    fn give_up(
        &mut self,
        context: &Context,
        peer: Peer,
        reason: &'static str,
        why: &str,
    ) -> Result<(), SessionError> {
        self.intake.release(peer);
        self.connections.remove(&peer);
        if self.has_only_one {
            return Err(SessionError::new(reason, why));
        }
        context.counters().error(reason);
        // Whoever connects may do so any number of times.
        let device = matches!(self.settings.source, Source::Devices(_)).then_some(peer);
        if let Some(left_out) = self.told.tell((device, reason), self.clock.now_ns()) {
            let bridge = &context.common().name;
            tracing::warn!(bridge, reason, why, left_out, "a device is not connected");
        }
        Ok(())
    }
}

/// Says to a device what is to be said after something came from it.
async fn answer(
    dialogue: &mut Option<Dialogue>,
    writer: &mut Writer,
    heard: Heard,
    is_frame: bool,
    now_ns: u64,
) -> Result<(), SessionError> {
    let Some(dialogue) = dialogue else { return Ok(()) };
    let command = match heard {
        Heard { is_configuration: true, .. } => dialogue.configured(now_ns),
        Heard { is_outdated: true, .. } => dialogue.outdated(now_ns),
        Heard { .. } => None,
    };
    if is_frame {
        dialogue.heard(now_ns);
    }
    match command {
        Some(command) => writer.send(command).await,
        None => Ok(()),
    }
}

async fn resolve(host: &str) -> Result<SocketAddr, SessionError> {
    let failed = |error| SessionError::new("connect", format!("{host}: {error}"));
    let found = lookup_host(host).await.map_err(|error| failed(error.to_string()))?;
    let mut found = found;
    found.next().ok_or_else(|| failed("no address".to_owned()))
}

impl Writer {
    /// Writes a command. A connection that cannot be written to ends by its reader.
    async fn send(&mut self, command: Command) -> Result<(), SessionError> {
        let Some(bytes) = self.encode(command) else { return Ok(()) };
        let written = match &mut self.way {
            Way::Connection(writer) => timeout(WRITE, writer.write_all(&bytes)).await,
            Way::Datagrams(socket, to) => {
                timeout(WRITE, async { socket.send_to(&bytes, *to).await.map(drop) }).await
            }
        };
        match (written, &self.way) {
            (Ok(Err(error)), Way::Datagrams(_, to)) => {
                Err(SessionError::new("connect", format!("udp://{to}: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn encode(&self, command: Command) -> Option<Vec<u8>> {
        let stamp = Stamp::of_utc_ns(unix_ns());
        Some(command.encode(self.id?, stamp, self.edition))
    }
}

impl Drop for Writer {
    /// A device that is left is turned off, as far as that goes without waiting.
    fn drop(&mut self) {
        let Some(bytes) = self.encode(Command::TurnOff) else { return };
        // The connection may be gone; then the device has noticed.
        let _ = match &self.way {
            Way::Connection(writer) => writer.try_write(&bytes),
            Way::Datagrams(socket, to) => socket.try_send_to(&bytes, *to),
        };
    }
}
