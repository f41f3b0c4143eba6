//! One subscriber socket: its requests, the replies it needs before it counts as open, and the
//! unpacking of its form down to payloads. Must not know threads, readiness or time.

use crate::codec::claim::Reject;
use crate::codec::dialect::broker::{Broker, ReadResult};
use crate::codec::dialect::protocol::TextPayload;
use crate::codec::dialect::protocol::{ClientSetup, ProtocolEvent};
use crate::codec::events::{Event, EventId, EventStream};
use crate::codec::form::Form;
use crate::codec::handshake::{Answer, Offer, UpgradeError};
use crate::codec::incoming::ServerEvent;
use crate::codec::inflate::Inflater;
use crate::codec::memo::Memo;
use crate::codec::polls::{Item, Polls};
use crate::codec::wire::{MASK, Message, Opcode};
use crate::codec::{events, inflate, wire};
use crate::drive::channels::Channels;
use crate::drive::connection::Connection;
use crate::drive::dashboard::{Catalogue, Dashboard};
use crate::plan::audience::SubscriberPlan;
use crate::plan::class::ClassPlan;
use crate::plan::plan::Plan;
use crate::receive::reception::{Arrival, Reception};
use crate::receive::stamp;
use crate::receive::stamp::Stamp;

/// One socket, aligned to cache lines, because thousands of other sockets are read before this one
/// is read again.
#[repr(align(64))]
pub struct Subscriber {
    /// The connection.
    pub connection: Connection,
    /// Index into the plan's subscribers.
    pub plan: u32,
    /// The state of the connection.
    pub state: State,
    session: Option<Box<Session>>,
}

/// The state of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The TCP connection is being established.
    Connecting,
    /// The HTTP response is awaited.
    Upgrading,
    /// The replies to its subscriptions are awaited.
    Subscribing,
    /// Open, with its account at the reception.
    Open(u32),
}

/// The state that forms other than raw need.
enum Session {
    Dashboard(Dashboard),
    Broker(Broker),
    Events { stream: EventStream, newest: Option<EventId> },
    Polls { polls: Polls, newest: Option<EventId> },
}

/// What the sockets of a thread share to decode messages.
pub struct ReceiveContext {
    /// Receives the payloads.
    pub reception: Reception,
    catalogue: Catalogue,
    channels: Channels,
    inflater: Option<Inflater>,
    events: Memo<Numbered>,
    /// Payloads by the texts that hold them, where another protocol is spoken.
    texts: Memo<TextPayload>,
    message_bytes_max: usize,
}

/// A frame in an event.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    id: Option<EventId>,
    stamp: Stamp,
    payload_bytes: usize,
}

impl ReceiveContext {
    /// The context of a thread that has no socket yet.
    pub fn new(plan: &Plan, message_bytes_max: usize) -> ReceiveContext {
        let messages = plan.messages_remembered();
        let deflates = plan.classes.iter().any(|class| class.deflate);
        let has_events = plan.classes.iter().any(|class| class.form == Form::Sse);
        ReceiveContext {
            reception: Reception::new(plan),
            catalogue: Catalogue::new(plan),
            channels: Channels::new(plan),
            inflater: deflates.then(|| Inflater::new(messages, message_bytes_max)),
            events: Memo::new(if has_events { messages } else { 0 }),
            texts: Memo::of_texts(if plan.dialect.has_protocol() { messages } else { 0 }),
            message_bytes_max,
        }
    }
}

impl Subscriber {
    /// A socket whose TCP connection is being established.
    pub fn new(connection: Connection, plan: u32) -> Subscriber {
        Subscriber { connection, plan, state: State::Connecting, session: None }
    }

    /// Checks the HTTP response and sends what the form sends next. `Ok(None)`: the response is not
    /// complete yet.
    pub fn answered(
        &mut self,
        bytes: &[u8],
        offer: &Offer<'_>,
        plan: &Plan,
    ) -> Result<Option<Answer>, String> {
        let answer = offer.check(bytes).map_err(|error: UpgradeError| error.to_string())?;
        let Some(answer) = answer else {
            self.connection.keep(bytes);
            return Ok(None);
        };
        self.connection.keep(&[]);
        if answer.is_deflated {
            self.connection.take_deflated();
        }
        let subscriber = &plan.subscribers[self.plan as usize];
        let form = class_of(plan, subscriber).map_or(Form::Raw, |class| class.form);
        let subscriptions = || plan.subscriptions(subscriber.follows);
        self.session = match form {
            Form::Raw => {
                if let Some(text) = plan.dialect.subscribe_message(&subscriptions()) {
                    self.send_message(Opcode::Text, text.as_bytes())?;
                }
                None
            }
            Form::Sse => {
                let stream = EventStream::new(answer.is_chunked);
                Some(Box::new(Session::Events { stream, newest: offer.last_event_id }))
            }
            Form::Poll => {
                let polls = Polls::new(offer.next_poll(), answer.body_bytes);
                Some(Box::new(Session::Polls { polls, newest: offer.last_event_id }))
            }
            Form::Json | Form::Bin => {
                let (dashboard, requests) = Dashboard::new(form, plan, subscriber);
                self.send(&requests)?;
                self.state = State::Subscribing;
                Some(Box::new(Session::Dashboard(dashboard)))
            }
            Form::Nats | Form::Mqtt | Form::SocketIo | Form::Centrifugo | Form::Pusher => {
                Some(self.open_broker(plan, &subscriptions())?)
            }
        };
        Ok(Some(answer))
    }

    fn open_broker(&mut self, plan: &Plan, topics: &[&str]) -> Result<Box<Session>, String> {
        let client = ClientSetup { topics, token: plan.token.as_deref(), publishes: false };
        let broker = Broker::new(&plan.dialect, &client);
        let (broker, opening) = broker.ok_or("a form of another dialect")?;
        self.send(&opening)?;
        self.state = State::Subscribing;
        Ok(Box::new(Session::Broker(broker)))
    }

    fn send_message(&mut self, opcode: Opcode, message: &[u8]) -> Result<(), String> {
        let mut frame = Vec::new();
        wire::encode(opcode, message, MASK, &mut frame);
        self.send(&frame)
    }

    fn send(&mut self, frames: &[u8]) -> Result<(), String> {
        let sent = self.connection.send(frames);
        sent.map_err(|error| crate::os::socket::failure_name(&error).to_string())
    }

    /// The newest frame of an event stream: who reconnects goes on after it.
    pub fn newest_event(&self) -> Option<EventId> {
        match self.session.as_deref()? {
            Session::Events { newest, .. } | Session::Polls { newest, .. } => *newest,
            _ => None,
        }
    }

    /// Handles bytes while subscriptions are not confirmed. Frames that come with the last
    /// confirmation are ignored, because this run publishes only once all sockets are open.
    pub fn on_replies(
        &mut self,
        bytes: &[u8],
        context: &mut ReceiveContext,
        now_ns: u64,
        pongs: &mut Vec<u8>,
    ) -> Result<bool, String> {
        let ReceiveContext { catalogue, inflater, texts, message_bytes_max, .. } = context;
        let message_bytes_max = *message_bytes_max;
        let dashboard = match self.session.as_deref_mut() {
            Some(Session::Dashboard(dashboard)) => dashboard,
            Some(Session::Broker(broker)) => {
                let read_result = ReadResult { bytes, message_bytes_max, now_ns, texts, inflater };
                broker.on_bytes(self.connection.scanner(), read_result, pongs, |_| ())?;
                return Ok(broker.is_confirmed());
            }
            _ => return Ok(true),
        };
        let mut refused = Ok(());
        self.connection.scan(bytes, message_bytes_max, pongs, |event| {
            if let (ServerEvent::Message(message), Ok(())) = (event, &refused) {
                refused = match inflated(message, inflater) {
                    Some(message) => dashboard.confirm(message, catalogue),
                    None => Err("damaged reply".to_owned()),
                };
            }
        })?;
        refused.map(|()| dashboard.is_confirmed())
    }

    /// Checks timers; called about once a second. Frames that a client must send on its own are
    /// appended to `out`. `Err`: the server has been silent for too long.
    pub fn check_timers(&mut self, now_ns: u64, out: &mut Vec<u8>) -> Result<(), String> {
        match self.session.as_deref_mut() {
            Some(Session::Broker(broker)) => broker.check_timers(now_ns, out),
            _ => Ok(()),
        }
    }

    /// Handles bytes that were read. Pongs to send are appended to `pongs`. `Err`: why the
    /// connection is over.
    #[inline]
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        context: &mut ReceiveContext,
        arrival: Arrival<'_>,
        pongs: &mut Vec<u8>,
    ) -> Result<(), String> {
        let ReceiveContext {
            reception,
            catalogue,
            channels,
            inflater,
            events,
            texts,
            message_bytes_max,
        } = context;
        let message_bytes_max = *message_bytes_max;
        let mut dashboard = match self.session.as_deref_mut() {
            Some(Session::Events { stream, newest }) => {
                let mut handler = EventHandler { reception, events, arrival, newest, close: None };
                let taken = stream.take(bytes, message_bytes_max * 2, |event| handler.take(event));
                return handler.close.map_or(taken.map_err(|end| end.to_string()), Err);
            }
            Some(Session::Polls { polls, newest }) => {
                let mut handler = EventHandler { reception, events, arrival, newest, close: None };
                return polls.take(bytes, ANSWER_BYTES_MAX, pongs, |item| handler.polled(&item));
            }
            Some(Session::Broker(broker)) => {
                let take = |event: ProtocolEvent<'_>| match event {
                    ProtocolEvent::Payload(payload, channel) => {
                        let fits = |publisher| channels.fit(channel, publisher);
                        reception.message_if(arrival, payload, fits);
                    }
                    ProtocolEvent::Rejected(reject) => reception.reject(arrival, reject),
                };
                let now_ns = arrival.now_ns;
                let read_result = ReadResult { bytes, message_bytes_max, now_ns, texts, inflater };
                return broker.on_bytes(self.connection.scanner(), read_result, pongs, take);
            }
            Some(Session::Dashboard(dashboard)) => Some(dashboard),
            None => None,
        };
        self.connection.scan(bytes, message_bytes_max, pongs, |event| match event {
            ServerEvent::Gap(gap) => reception.gap(arrival.account, gap),
            ServerEvent::Message(message) => match (inflated(message, inflater), &mut dashboard) {
                (None, _) => reception.reject(arrival, Reject::Corrupt),
                (Some(message), Some(dashboard)) => {
                    dashboard.take(message, catalogue, reception, arrival);
                }
                (Some(message), None) => {
                    reception.message(arrival, message.bytes);
                }
            },
        })
    }
}

/// The class of a subscriber.
pub fn class_of<'p>(plan: &'p Plan, subscriber: &SubscriberPlan) -> Option<&'p ClassPlan> {
    plan.classes.get(usize::from(subscriber.class))
}

/// The request of a subscriber to its server; `after` is what it has received before.
pub fn offer<'o>(
    plan: &'o Plan,
    subscriber: &'o SubscriberPlan,
    key: &'o str,
    after: Option<EventId>,
) -> Offer<'o> {
    let class = class_of(plan, subscriber);
    let form = class.map_or(Form::Raw, |class| class.form);
    Offer {
        path: &subscriber.path,
        host: &plan.host,
        key: (!matches!(form, Form::Sse | Form::Poll)).then_some(key),
        polls: form == Form::Poll,
        protocol: form.subprotocol(),
        deflate: class.is_some_and(|class| class.deflate),
        token: plan.dialect.bearer(plan.token.as_deref()),
        last_event_id: after,
    }
}

/// The message, decompressed if necessary; `None` if it is damaged.
#[inline]
fn inflated<'m>(message: Message<'m>, inflater: &'m mut Option<Inflater>) -> Option<Message<'m>> {
    let bytes = inflate::whole(message.bytes, message.is_deflated, inflater)?;
    Some(Message { bytes, ..message })
}

/// Handles the events of one read.
struct EventHandler<'d> {
    reception: &'d mut Reception,
    events: &'d mut Memo<Numbered>,
    arrival: Arrival<'d>,
    newest: &'d mut Option<EventId>,
    close: Option<String>,
}

/// An event that is not a frame of this run.
enum Unframed {
    Rejected(Reject),
    Event(Event),
}

impl EventHandler<'_> {
    fn take(&mut self, event: &[u8]) {
        let arrival = self.arrival;
        match self.events.of(event, |event| read_frame(event, arrival)).copied() {
            Ok(Numbered { id, stamp, payload_bytes }) => {
                if self.reception.frame(arrival, stamp, payload_bytes) {
                    self.note(id);
                }
            }
            Err(Unframed::Rejected(reject)) => self.reception.reject(arrival, reject),
            Err(Unframed::Event(Event::Gap(gap))) => self.reception.gap(arrival.account, gap),
            Err(Unframed::Event(Event::Close(code))) => self.close = Some(wire::close_name(code)),
            Err(Unframed::Event(_)) => {}
        }
    }

    fn polled(&mut self, item: &Item<'_>) {
        let arrival = self.arrival;
        match item {
            Item::Gap(gap) => self.reception.gap(arrival.account, *gap),
            Item::Frame(id, payload) => match stamp::identified(payload, arrival.publisher_index) {
                Ok(stamp) if self.reception.frame(arrival, stamp, payload.len()) => {
                    self.note(Some(*id));
                }
                Ok(_) => {}
                Err(reject) => self.reception.reject(arrival, reject),
            },
        }
    }

    fn note(&mut self, id: Option<EventId>) {
        let Some(id) = id else { return };
        let newest = self.newest.replace(id);
        if newest.is_some_and(|newest| id.epoch == newest.epoch && id.seq <= newest.seq) {
            self.reception.misnumbered(self.arrival.account);
        }
    }
}

fn read_frame(event: &[u8], arrival: Arrival<'_>) -> Result<Numbered, Unframed> {
    match events::read_event(event) {
        Event::Data { id, payload } => {
            let stamp =
                stamp::identified(&payload, arrival.publisher_index).map_err(Unframed::Rejected)?;
            Ok(Numbered { id, stamp, payload_bytes: payload.len() })
        }
        Event::Malformed => Err(Unframed::Rejected(Reject::Corrupt)),
        event => Err(Unframed::Event(event)),
    }
}

/// More than `poll.bytes_max` allows by default, and the longest message behind that.
const ANSWER_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(size_of::<Option<Subscriber>>() == 64, "100,000 of them are held");
