//! The world of one seed: cores, clients, and what happens when. Owns the order of events and what
//! must hold after each turn and in the end. Must not know how clients say what they say (that is
//! `talk`).

use std::sync::Arc;
use std::time::Duration;

use gridcast::auth::rules::Rules;
use gridcast::core::Core;
use gridcast::core::shared::{Port as SharedPort, Shared};
use gridcast::http::route::Door;
use gridcast::net::backend::Readiness;
use gridcast::net::tls::certificates::Tls;
use gridcast::settings::config::Config;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::io::Errno;

use crate::client::{Client, Temper};
use crate::follower::Form;
use crate::log::{self, Log};
use crate::network::{FakeBackend, FakeClock, FakeWake, Port, UNIX_MS, Work};
use crate::profile::{HEARTBEAT_MS, Profile};
use crate::proxied::Introduction;
use crate::record::Record;
use crate::talk::{self, Part};
use crate::tokens::Token;

/// What happens in a seed.
const STEPS: usize = 800;
/// How long a lane may rest: the default of `flush.rest_us_max`.
const REST_NS_MAX: u64 = 2 * MS;
/// Turns in which everything must have settled once nothing holds it up.
const SETTLING_TURNS_MAX: usize = 200_000;
/// What one turn may ask of its sockets.
const TURN_CALLS_MAX: usize = 2_048;
/// Bytes that one turn may read, and that it may write.
const TURN_BYTES_MAX: usize = 8 << 20;
/// Messages that one turn may publish beside those it reads.
const TURN_MESSAGES_MAX: usize = 1_024;
/// What a message is at least on its way to the engine, a few short ones apart.
const MESSAGE_BYTES_MIN: usize = 32;
const MS: u64 = 1_000_000;
/// Longest silence where the engine shows that it lives: deadlines and sleep are as fine as a tick.
const SILENCE_NS_MAX: u64 = (HEARTBEAT_MS + 250) * MS;

/// See the file header.
pub struct World {
    pub rng: StdRng,
    pub profile: Profile,
    pub clock: FakeClock,
    pub shared: Arc<Shared>,
    pub record: Record,
    pub clients: Vec<Client>,
    pub drains: bool,
    /// Nothing holds anybody up any more.
    settles: bool,
    /// Where what is published goes through one.
    log: Option<Log>,
    cores: Vec<SimulatedCore>,
    events: Vec<Readiness>,
}

/// A core, and what its thread would do.
struct SimulatedCore {
    core: Core<FakeBackend>,
    port: Port,
    wake: FakeWake,
    /// When it wakes by itself; never, where there is none.
    due_ns: Option<u64>,
}

impl World {
    /// The world of `seed`, in which nothing has happened yet.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let profile = Profile::of(seed);
        let config = profile.config(&mut rng);
        let clock = FakeClock::new(rng.random_range(1_000..3_000));
        let wakes: Vec<FakeWake> =
            (0..rng.random_range(1..4)).map(|_| FakeWake::default()).collect();
        let ports = wakes.iter().map(|wake| SharedPort::new(wake.clone())).collect();
        let rules = Rules::load(&config).unwrap();
        let tls = Tls::new(&config.tls).unwrap();
        let is_logged = profile == Profile::Log;
        let other = is_logged.then(|| another_node(&config));
        let shared = Shared::new(config, rules, tls, ports, UNIX_MS);
        let shared = log::through(shared, is_logged);
        shared.set_ready();
        let log = other.map(|other| Log::attach(&shared, other));
        let core = |(index, wake)| {
            let port = Port::default();
            let backend = FakeBackend::new(port.clone(), clock.clone());
            let core = Core::new(Arc::clone(&shared), index, backend, &[Door::All]);
            SimulatedCore { core, port, wake, due_ns: Some(0) }
        };
        let mut record = Record::new();
        talk::watch_topics(&mut record, &shared.registry);
        Self {
            cores: wakes.into_iter().enumerate().map(core).collect(),
            rng,
            profile,
            clock,
            shared,
            record,
            clients: Vec::new(),
            drains: false,
            settles: false,
            log,
            events: Vec::new(),
        }
    }

    /// Runs to the end.
    pub fn run(mut self) {
        match self.profile {
            Profile::Burst => self.burst(),
            Profile::Pipeline => self.pipeline(),
            Profile::Due => self.come_due_together(),
            _ => (0..STEPS).for_each(|_| self.step()),
        }
        self.settle();
        self.judge();
        self.end();
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..8 => self.connect_any(),
            8..55 => self.talk_any(),
            55..65 => self.give_room(),
            65..80 => self.clock.advance(self.rng.random_range(0..2 * MS)),
            80..86 => self.clock.advance(self.rng.random_range(0..300 * MS)),
            86..90 => self.release(),
            90..92 => self.shared.registry.tidy(self.clock.now_ns()),
            92..95 => self.break_one(),
            95..97 => self.leave_one(),
            97 => self.reconfigure(),
            98 if self.profile == Profile::Drain && self.clients.len() > 20 => self.drain(),
            99 if self.rng.random() => self.fail_accept(),
            _ => self.report_nothing_new(),
        }
        self.step_log();
        if self.rng.random_ratio(1, 100) {
            self.run_until_rested();
            self.check_prompt();
        }
        for index in 0..self.cores.len() {
            if self.is_runnable(index) && self.rng.random_ratio(3, 4) {
                self.turn(index);
            }
        }
    }

    // ---- what happens ----

    /// A new connection at some core.
    pub fn connect(&mut self, temper: Temper, form: Form, part: Part) -> usize {
        let id = self.clients.len();
        let core = self.rng.random_range(0..self.cores.len());
        let is_proxied = self.profile == Profile::Proxied;
        let introduced = is_proxied.then(|| Introduction::draw(&mut self.rng));
        let port = &self.cores[core].port;
        let wire = match &introduced {
            Some(introduced) => port.connect_from(introduced.from),
            None => port.connect((id % 200) as u8),
        };
        if temper != Temper::Prompt {
            wire.give_room(self.rng.random_range(0..2_000));
        }
        let mut client = Client::new(id, wire, temper, form, part);
        if self.shared.tls.is_some() {
            client.secure();
        }
        if let Some(Introduction { header, is_believed, .. }) = introduced {
            client.introduce(header);
            client.is_turned_away = !is_believed;
        }
        if self.profile == Profile::Tokens {
            client.token = Some(Token::draw(&mut self.rng, self.clock.now_ns()));
        }
        self.clients.push(client);
        id
    }

    /// A client that has not broken off and was not let go of.
    pub fn any_client(&mut self) -> Option<usize> {
        let alive = |client: &Client| !client.wire.is_broken() && !client.wire.is_dropped();
        let alive = self.clients.iter().filter(|client| alive(client)).map(|client| client.id);
        alive.collect::<Vec<_>>().choose(&mut self.rng).copied()
    }

    fn give_room(&mut self) {
        let Some(id) = self.any_client() else { return };
        let room = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(1..5),
            1 => self.rng.random_range(1..300),
            _ => self.rng.random_range(1..5_000),
        };
        self.clients[id].wire.give_room(room);
    }

    fn report_nothing_new(&mut self) {
        if let Some(id) = self.any_client() {
            self.clients[id].wire.report_writable();
        }
    }

    /// An instant of the grid: rated feeds publish what they hold.
    fn release(&mut self) {
        for feed in self.shared.registry.rated().due(0, u64::MAX / 2) {
            feed.release(self.clock.now_ns());
        }
    }

    fn break_one(&mut self) {
        if let Some(id) = self.any_client()
            && self.clients[id].temper != Temper::Prompt
        {
            self.clients[id].wire.reset();
        }
    }

    /// Something happens to the log, and what it brings is seen.
    fn step_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.step(&self.shared, self.clock.now_ns(), &mut self.rng);
            self.record.look();
        }
    }

    /// The log answers, and who waited for that goes on, until nobody waits any more.
    fn settle_log(&mut self) {
        for _ in 0..SETTLING_TURNS_MAX {
            let Some(log) = &mut self.log else { return };
            log.settle(&self.shared, self.clock.now_ns());
            self.record.look();
            self.run_until_asleep();
            if self.log.as_ref().is_some_and(|log| log.is_done(&self.shared)) {
                return;
            }
        }
        panic!("publishers wait for the log for ever");
    }

    /// The machine has no room for who comes next, or that one is gone before it is accepted.
    fn fail_accept(&mut self) {
        let core = self.cores.choose(&mut self.rng).unwrap();
        let errors = [Errno::MFILE, Errno::NOBUFS, Errno::CONNABORTED];
        core.port.fail_accept(*errors.choose(&mut self.rng).unwrap());
    }

    /// Other settings are put in force.
    fn reconfigure(&mut self) {
        let mut config = (*self.shared.config.load()).clone();
        self.profile.draw_flush(&mut config, &mut self.rng);
        config.compression.enabled = self.rng.random();
        self.shared.config.replace(config);
        self.shared.wake_all();
    }

    fn drain(&mut self) {
        self.drains = true;
        self.shared.drain(self.clock.now_ns());
    }

    // ---- the cores ----

    fn is_runnable(&self, index: usize) -> bool {
        let core = &self.cores[index];
        let is_due = core.due_ns.is_some_and(|due_ns| due_ns <= self.clock.now_ns());
        is_due || core.wake.is_rung() || core.port.has_events()
    }

    fn turn(&mut self, index: usize) {
        let events_max = *[0, 0, 1, 7].choose(&mut self.rng).unwrap();
        let SimulatedCore { core, port, wake, due_ns } = &mut self.cores[index];
        wake.take();
        port.set_events_max(events_max);
        core.wake_up(&mut self.events, Some(Duration::ZERO)).unwrap();
        core.turn(&self.events);
        let timeout = core.fall_asleep();
        *due_ns = timeout.map(|timeout| self.clock.now_ns() + timeout.as_nanos() as u64);
        let work = port.take_work();
        let published = self.record.look();
        for client in &mut self.clients {
            client.receive(&self.record, self.clock.now_ns());
            // Who polls asks as often as there is something.
            if client.temper == Temper::Prompt || self.settles && client.form() == Form::Poll {
                client.send_all();
            }
        }
        self.check(index);
        self.check_budget(work, published);
    }

    // ---- what must hold ----

    fn check(&self, index: usize) {
        let core = &self.cores[index].core;
        if let Some(broken) = core.broken_invariant() {
            panic!("{broken}");
        }
        for key in core.awaits_room() {
            let wire = self.cores[index].port.wire(key).unwrap();
            assert!(wire.owes_event(), "core {index}, connection {key} is blocked for ever");
        }
        for client in self.clients.iter().filter(|client| client.wire.refusals() == 0) {
            let code = client.follower.closed.as_ref().map(|closed| closed.code);
            let lapsed = client.follower.lapses > 0 || code == Some(4409) && !client.resumes;
            assert!(!lapsed, "client {} took every byte and lapsed", client.id);
        }
        self.check_tokens();
        self.check_told();
    }

    /// A message stands where its publisher was told that it does.
    fn check_told(&self) {
        for client in &self.clients {
            for (message, told) in &client.told {
                let own = self.record.position_of(*message);
                assert!(own.is_none_or(|own| own == *told), "message {message}: {told}, {own:?}");
            }
        }
    }

    /// Nobody is told that a token has ended before it has.
    fn check_tokens(&self) {
        if self.profile != Profile::Tokens {
            return;
        }
        let now_ns = self.clock.now_ns();
        for client in &self.clients {
            let closed = client.follower.closed.as_ref().map(|closed| closed.code);
            let is_told = closed == Some(4401) || client.refused == Some(401);
            let has_ended = client.token.as_ref().is_some_and(|token| token.may_have_ended(now_ns));
            assert!(has_ended || !is_told, "client {} was ended too early", client.id);
        }
    }

    /// However much is to be done, others get their turn soon.
    fn check_budget(&self, work: Work, published: usize) {
        let Work { reads, writes, accepts, drops, .. } = work;
        let calls = reads + writes + accepts + drops;
        assert!(calls <= TURN_CALLS_MAX, "one turn that did all this: {work:?}");
        assert!(work.read_bytes <= TURN_BYTES_MAX, "one turn that read all this: {work:?}");
        let published_max = work.read_bytes / MESSAGE_BYTES_MIN + TURN_MESSAGES_MAX;
        assert!(published <= published_max, "{published} messages in one turn: {work:?}");
        assert!(work.written_bytes <= TURN_BYTES_MAX, "one turn that sent all this: {work:?}");
    }

    /// The network takes everything, and time passes: nothing may be left waiting.
    fn settle(&mut self) {
        self.settles = true;
        for client in &self.clients {
            if !client.wire.is_broken() {
                client.wire.give_room(usize::MAX / 4);
            }
        }
        for _ in 0..40 {
            for client in &mut self.clients {
                client.send_all();
            }
            self.release();
            self.run_until_asleep();
            self.settle_log();
            self.run_until_rested();
            self.check_prompt();
            self.clock.advance(50 * MS);
        }
    }

    /// Runs the cores until no lane rests either.
    fn run_until_rested(&mut self) {
        self.run_until_asleep();
        self.clock.advance(REST_NS_MAX);
        self.run_until_asleep();
    }

    /// Runs the cores until none has anything to do at once.
    pub fn run_until_asleep(&mut self) {
        for _ in 0..SETTLING_TURNS_MAX {
            let Some(index) = (0..self.cores.len()).find(|&index| self.is_runnable(index)) else {
                return;
            };
            self.turn(index);
        }
        panic!("the cores find something to do for ever");
    }

    fn judge(&self) {
        self.check_told();
        for (message, told) in self.clients.iter().flat_map(|client| &client.told) {
            let is_there = self.record.was_published(*message) != Some(false);
            assert!(is_there, "message {message} was acknowledged: {told}");
        }
        if let Some(log) = &self.log {
            assert!(log.is_done(&self.shared), "somebody waits for the log");
            let unrated = self.record.names().filter(|name| name.rate.is_none());
            unrated.for_each(|name| log.check_other(name, &self.record, self.clock.now_ns()));
        }
        for client in &self.clients {
            self.judge_one(client);
        }
    }

    /// Everybody has what he was promised, or was told why not.
    fn judge_one(&self, client: &Client) {
        let wire = &client.wire;
        if wire.is_broken() {
            return;
        }
        if client.is_turned_away {
            let is_let_go = wire.is_dropped() && !client.has_heard;
            return assert!(is_let_go, "client {} was let in by nobody's word", client.id);
        }
        // Nobody is slow where no time passes.
        let was_slow = (wire.refusals() > 0 || client.temper != Temper::Prompt)
            && self.profile != Profile::Pipeline;
        self.judge_rights(client);
        if let Some(closed) = &client.follower.closed {
            let is_deserved = match closed.code {
                code if is_echo(code) => client.has_closed,
                1001 => self.drains,
                // `check` has seen that it was not too early.
                4401 => client.token.is_some(),
                4408 => was_slow,
                4409 => client.resumes || wire.refusals() > 0,
                4410 => wire.refusals() > 0,
                4503 => self.is_crowded(),
                _ => false,
            };
            assert!(is_deserved, "client {} was closed: {closed:?}", client.id);
        }
        if let Some(status) = client.refused {
            let is_deserved = match status {
                401 => client.token.is_some(),
                403 => !client.may_publish(),
                408 => was_slow,
                503 => self.drains || self.is_crowded(),
                _ => false,
            };
            return assert!(is_deserved, "client {} was refused: {status}", client.id);
        }
        let closed = client.follower.closed.as_ref();
        let is_closed_by_engine = closed.is_some_and(|closed| !is_echo(closed.code));
        if is_closed_by_engine || self.drains && wire.is_ended() {
            return;
        }
        if wire.is_ended() && was_slow {
            return;
        }
        self.judge_served(client);
    }

    /// Whether some may have to be refused or ended to make room for others.
    fn is_crowded(&self) -> bool {
        let waited = self.log.as_ref().is_some_and(|log| log.has_been_silent);
        waited || matches!(self.profile, Profile::Shed | Profile::Proxied)
    }

    fn judge_rights(&self, client: &Client) {
        if client.may_publish() {
            return;
        }
        for &message in &client.published {
            let was_published = self.record.was_published(message);
            assert_ne!(was_published, Some(true), "client {} had no right to", client.id);
        }
    }

    fn judge_served(&self, client: &Client) {
        let (id, wire) = (client.id, &client.wire);
        // Whoever goes does not hear what a log has still to say.
        let hears_all = self.log.is_none() || !(client.has_closed || client.is_ending);
        assert!(!hears_all || client.waits_for().is_none(), "client {id} waits for ever");
        assert!(!client.has_torn_bytes(), "client {id} got the beginning of something");
        let granted = client.published.iter().filter(|_| client.may_publish());
        let granted = granted.filter(|message| hears_all && !client.unpublished.contains(message));
        for &message in granted {
            let was_published = self.record.was_published(message);
            assert_ne!(was_published, Some(false), "{message} of client {id} was never published");
        }
        if (client.is_stream || client.form() == Form::Poll) && !wire.is_ended() {
            client.follower.check_complete(&self.record);
        }
    }

    /// While every core sleeps, whoever takes bytes at once has everything there is, or hears that
    /// there is nothing.
    fn check_prompt(&self) {
        for client in &self.clients {
            let is_refused = client.is_turned_away || client.refused.is_some();
            let closed = client.follower.closed.is_some() || client.wire.is_ended() || is_refused;
            let follows = client.is_stream || client.form() == Form::Poll && client.has_heard;
            if client.temper == Temper::Prompt && follows && !closed {
                client.follower.check_complete(&self.record);
                let silent_ns = self.clock.now_ns() - client.heard_ns;
                let is_shown = !client.has_heartbeat() || silent_ns <= SILENCE_NS_MAX;
                assert!(is_shown, "client {} heard nothing for {silent_ns} ns", client.id);
                let token = client.token.as_ref();
                let is_over = token.is_some_and(|token| token.must_have_ended(self.clock.now_ns()));
                assert!(!is_over, "client {} outlives its token", client.id);
            }
        }
    }

    /// When all clients have gone nothing is left of them.
    fn end(mut self) {
        for client in &self.clients {
            client.wire.reset();
        }
        self.run_until_asleep();
        for core in &self.cores {
            assert_eq!(core.core.connections(), 0, "a connection outlives its client");
            core.port.clear();
        }
        let now_ns = u64::MAX / 2;
        self.record.forget(now_ns, |_| false);
        // Retiring comes in two rounds: patterns first, then the topics that held them.
        self.shared.registry.tidy(now_ns);
        self.shared.registry.tidy(now_ns);
        let usage = self.shared.registry.usage();
        assert_eq!((usage.topics, usage.patterns, usage.log_bytes), (0, 0, 0));
    }
}

/// What the log of an engine with these settings is read by as well.
fn another_node(config: &Config) -> Shared {
    let rules = Rules::load(config).unwrap();
    Shared::new(config.clone(), rules, None, Vec::new(), UNIX_MS)
}

/// Codes that only answer a close of the client's own.
fn is_echo(code: u16) -> bool {
    matches!(code, 1000 | 1005)
}
