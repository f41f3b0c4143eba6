//! Opens the publisher sockets of one thread. Must not publish.

use crate::codec::dialect::broker::Broker;
use crate::codec::dialect::protocol::ClientSetup;
use crate::codec::form::Form;
use crate::codec::handshake;
use crate::codec::handshake::Offer;
use crate::drive::connection::Connection;
use crate::drive::dial;
use crate::drive::run_state::RunState;
use crate::plan::publisher::PublisherPlan;
use crate::time::draw::mix;

/// A publisher whose connection is open; the start is not known yet.
pub struct Connected {
    pub(super) publisher: u32,
    pub(super) connection: Connection,
    pub(super) broker: Option<Broker>,
}

/// Why a publisher could not be connected.
#[derive(Debug, thiserror::Error)]
#[error("publisher of {topic} could not connect: {reason}")]
pub struct ConnectError {
    /// Its topic.
    pub topic: String,
    /// The error.
    pub reason: String,
}

impl ConnectError {
    /// Whether the server answered with a refusal.
    fn is_answer(&self) -> bool {
        ["status ", "refused: "].iter().any(|said| self.reason.starts_with(said))
    }
}

/// Connects the first publisher and closes it again, so that a server that refuses publishers is
/// known before thousands of subscribers have connected.
///
/// # Errors
/// Why a publisher is refused.
pub fn probe(run_state: &RunState<'_>) -> Result<(), ConnectError> {
    let Some((number, publisher)) = run_state.plan.own_publishers().next() else { return Ok(()) };
    match connect_one(run_state, number, publisher) {
        Ok(mut connected) => connected.connection.send_close(),
        Err(error) if error.is_answer() => return Err(error),
        // Other errors concern the subscribers as well, and their ramp counts them.
        Err(error) => tracing::debug!(%error, "the first publisher could not connect"),
    }
    Ok(())
}

/// Connects the publishers of the thread with this index.
pub fn connect(run_state: &RunState<'_>, index: usize) -> Result<Vec<Connected>, ConnectError> {
    let plan = run_state.plan;
    let share = plan.own_publishers().skip(index).step_by(plan.publishing_threads().max(1));
    share.map(|(number, publisher)| connect_one(run_state, number, publisher)).collect()
}

fn connect_one(
    run_state: &RunState<'_>,
    number: u32,
    publisher: &PublisherPlan,
) -> Result<Connected, ConnectError> {
    let plan = run_state.plan;
    let nonce = mix(plan.seed ^ KEY_STREAM, u64::from(number), 0);
    let key = handshake::key(u128::from(nonce));
    let offer = Offer {
        path: &publisher.path,
        host: &plan.host,
        key: Some(&key),
        protocol: plan.dialect.form().and_then(Form::subprotocol),
        token: plan.dialect.bearer(plan.token.as_deref()),
        ..Offer::default()
    };
    let failed = |reason| ConnectError { topic: publisher.topic.clone(), reason };
    let (target, tls) = (plan.target, run_state.tls.as_ref());
    let mut connection = dial::upgrade(target, tls, &offer).map_err(failed)?;
    let topics = &[publisher.topic.as_str()];
    let client = ClientSetup { topics, token: plan.token.as_deref(), publishes: true };
    let broker = Broker::new(&plan.dialect, &client);
    let broker = broker.map(|opening| dial::log_in(run_state, &mut connection, opening));
    let broker = broker.transpose().map_err(failed)?;
    Ok(Connected { publisher: number, connection, broker })
}

const KEY_STREAM: u64 = 0x7075_626c;
