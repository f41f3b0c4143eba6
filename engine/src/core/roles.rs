//! Gives a connection its role: answers the upgrade, opens its lane and places its cursor. Must not
//! know what a role does with messages (that is `frames`).

use crate::core::Core;
use crate::core::conn::{Publisher, Role};
use crate::core::flags::Flags;
use crate::delivery::subscriptions::Subscription;
use crate::delivery::sweep::Member;
use crate::feed::gap::Gap;
use crate::feed::kind::{Deflation, Form, LaneKind};
use crate::feed::log::FeedName;
use crate::feed::options::{From, LagPolicy, Options};
use crate::feed::placed::Subscribed;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::http::extensions::Agreed;
use crate::http::handshake::Handshake;
use crate::http::request::Request;
use crate::limits::rate::TokenBucket;
use crate::net::backend::Backend;
use crate::wire::close::{Close, CloseCode};
use crate::wire::gap;

impl<B: Backend> Core<B> {
    pub(crate) fn begin_publisher(&mut self, key: u32, topic: Topic, handshake: &Handshake) {
        let per_s = self.config.limits.publishes_per_s_max;
        let rate = TokenBucket::new(per_s, self.now_ns());
        let publisher = Publisher { topic, held: None, rate };
        self.upgrade(key, Role::Publisher(Box::new(publisher)), handshake);
    }

    pub(crate) fn upgrade(&mut self, key: u32, role: Role, handshake: &Handshake) {
        self.accept_upgrade(key, handshake);
        self.begin_role(key, role);
    }

    pub(crate) fn accept_upgrade(&mut self, key: u32, handshake: &Handshake) {
        let response = handshake.response(self.date());
        let conn = &mut self.conns[key as usize];
        conn.flags.set(Flags::INFLATES, handshake.deflate.is_some());
        let keeps_context = handshake.deflate.is_some_and(Agreed::client_keeps_context);
        conn.flags.set(Flags::KEEPS_CONTEXT, keeps_context);
        conn.delivery.push_private(&response);
    }

    pub(crate) fn with_deflate(&self, handshake: Handshake, request: &Request) -> Handshake {
        match self.config.compression.enabled {
            true => handshake.with_deflate(request),
            false => handshake,
        }
    }

    pub(crate) fn begin_role(&mut self, key: u32, role: Role) {
        let now = self.now;
        if let Some(label) = role.label() {
            self.metrics.role_began(label);
        }
        let conn = &mut self.conns[key as usize];
        conn.heard = now;
        conn.role = role;
        self.schedule_ping(key);
    }

    /// Makes a connection, whose answer is queued, a subscriber of a lane that was just opened for
    /// it: places its cursor and lets the first flush carry both.
    pub(crate) fn subscribe(&mut self, key: u32, lane: u32, options: Options) {
        let (feed, kind) = (self.lanes.feed(lane), self.lanes.reader(lane).kind());
        let lag = options.lag.unwrap_or(feed.retention().lag);
        let placed = feed.place(self.lanes.reader(lane), &options.from);
        let Subscribed { cursor, gap, ahead } = placed;
        let member = self.lanes.join(lane, Member { conn: key, subscription: 0 });
        if let Some(position) = ahead {
            self.begin_behind(key, lane, position);
        }
        let subscription = Subscription::new((lane, member), cursor, options.mode, lag);
        self.conns[key as usize].delivery.subscribe(subscription);
        self.begin_role(key, Role::Subscriber(kind));
        match gap {
            Some(gap) => self.tell_gap(key, lane, lag, gap),
            None => self.flush(key),
        }
    }

    /// A position that is gone is answered honestly: with a notice where the form shows one or the
    /// subscriber chose to skip, else with a close that names what is missing.
    pub(crate) fn tell_gap(&mut self, key: u32, lane: u32, lag: LagPolicy, gap: Gap) {
        self.metrics.resumes_after_gap.add(1);
        self.metrics.gap_frames.add(gap.frames_known());
        if self.lanes.reader(lane).kind().shows_notices() || lag != LagPolicy::Disconnect {
            self.conns[key as usize].delivery.tell(&self.lanes, lane, gap);
            return self.queue_flush(key);
        }
        let reason = format!("{}: {}: use from=oldest", gap.reason.word(), gap::words(gap));
        self.close(key, &Close::new(CloseCode::Lagged, reason));
    }

    /// What a client's lane holds: the form it asked for, deflated if that was agreed.
    pub(crate) fn lane_kind(&self, form: Form, handshake: &Handshake) -> LaneKind {
        let compression = &self.config.compression;
        let deflate = handshake.deflate.map(|agreed| Deflation {
            window_bits: agreed.server_window_bits(),
            level: compression.level,
            bytes_min: compression.bytes_min,
        });
        LaneKind { form, deflate }
    }

    /// Takes in that a lane has moved. Whoever is ahead of this node passes over what it has.
    pub(crate) fn move_lane(&mut self, lane: u32) {
        self.lanes.moved(lane, self.now_ns());
        for (Member { conn, subscription }, cursor) in self.lanes.pass_known(lane) {
            let delivery = &mut self.conns[conn as usize].delivery;
            if let Some(own) = delivery.subscriptions_mut().get_mut(subscription as usize) {
                own.cursor = cursor;
            }
        }
    }

    /// Opens a lane for a connection that wants to follow `name` from `from` on.
    pub(crate) fn open_lane(
        &mut self,
        key: u32,
        name: &FeedName,
        kind: LaneKind,
        from: &From,
    ) -> Result<u32, FeedError> {
        loop {
            let now_ns = self.now_ns();
            let follower = self.conns[key as usize].follower();
            let feed = self.shared.registry.follow(name, &follower, now_ns)?;
            if let Some(lane) = self.lanes.find(&feed, kind) {
                self.move_lane(lane);
            }
            // A feed retired between look-up and opening is gone from the registry: look again.
            if let Some(lane) = self.lanes.open(&feed, kind) {
                let (encodes, deflates) = self.lanes.reach_back(lane, from);
                self.metrics.encoded(encodes, deflates);
                return Ok(lane);
            }
        }
    }
}
