//! The messages between a conductor and its agents, and their framing: a length of four bytes,
//! big-endian, then JSON. Must not know how they are handled.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::drive::run::RunResult;
use crate::judge::health::{Gate, HealthLimits};
use crate::os::tls::TlsPlan;
use crate::plan::part::Part;
use crate::receive::windows::WindowPart;

/// A message from the conductor.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToAgent {
    /// The first message.
    Hello {
        /// Version of the program; both ends must have the same.
        version: String,
        /// The token that authenticates the conductor.
        secret: Option<String>,
    },
    /// The share of the load.
    Prepare(Box<Task>),
    /// A time request.
    Probe {
        /// The number of the request, repeated in the answer.
        nonce: u64,
    },
    /// Open the sockets.
    Ramp,
    /// Start together.
    Start {
        /// Instant of the first tick, ns since the Unix epoch, on the conductor's clock.
        unix_ns: u64,
        /// How far the agent's clock is ahead of the conductor's clock, ns.
        ahead_ns: i64,
        /// One of this many measured frames is sampled for the spread.
        sample_every: u32,
    },
    /// The number of frames each publisher has written, over all agents.
    Published(Vec<u32>),
    /// The last received frame of each publisher, over all agents.
    Seen(Vec<u32>),
    /// Stop in order.
    Stop,
}

/// A message from an agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// The conductor is accepted.
    Welcome {
        /// Fingerprint of the agent's host.
        host: String,
    },
    /// The conductor is rejected, or this host cannot run its share.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// Ready to open sockets.
    Prepared,
    /// The time, and the progress of the run.
    Probed {
        /// The number of the request.
        nonce: u64,
        /// ns since the Unix epoch.
        unix_ns: u64,
        /// The progress.
        counts: Counts,
    },
    /// Every socket is open or given up.
    Ready,
    /// The report of a thread's second.
    Second(Box<WindowPart>),
    /// The number of frames each of its publishers has written.
    Published(Vec<u32>),
    /// The last received frame of each publisher, as far as this agent knows.
    Seen(Vec<u32>),
    /// The final report.
    Done(Box<Report>),
    /// The agent cannot continue.
    Failed {
        /// The reason.
        reason: String,
    },
}

/// A share of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The whole scenario, as TOML.
    pub scenario: String,
    /// The index and number of shares.
    pub part: Part,
    /// The server.
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// The credentials of the clients.
    pub token: Option<String>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsPlan>,
    /// A number that distinguishes this run from earlier ones.
    pub run_id: u32,
    /// The limits of a valid run.
    pub limits: HealthLimits,
}

/// The progress of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Subscriber sockets that are open.
    pub connected: u64,
    /// Failed attempts to open one.
    pub errors: u64,
    /// Frames published.
    pub sent: u64,
    /// Distinct frames received.
    pub received: u64,
    /// Frames skipped in the sequence and not received since.
    pub lost: u64,
    /// Sockets the server closed.
    pub closed: u64,
}

/// The results of an agent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its measurements.
    pub performed: RunResult,
    /// Their validity.
    pub gates: Vec<Gate>,
}

/// Writes a message.
///
/// # Errors
/// When the connection is lost.
pub fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - LENGTH_BYTES).map_err(io::Error::other)?;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    out.write_all(&bytes)
}

/// Reads a message of at most `bytes_max`.
///
/// # Errors
/// When the connection is lost, or the message is invalid.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, bytes_max: u32) -> io::Result<T> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    if length > bytes_max {
        return Err(wrong(format!("a message of {length} bytes; {bytes_max} are allowed")));
    }
    // The buffer grows with the received bytes and not with the announced length.
    let mut bytes = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("not understood: {error}")))
}

/// The message limit before authentication.
pub const HELLO_BYTES_MAX: u32 = 4096;
/// The message limit after it; the arrivals of all sampled frames are the largest message.
pub const MESSAGE_BYTES_MAX: u32 = 128 << 20;

const LENGTH_BYTES: usize = 4;

/// Both ends must have the same version, because each of them builds the plan.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let mut bytes = Vec::new();
        let counts = Counts { connected: 7, ..Counts::default() };
        write(&mut bytes, &FromAgent::Probed { nonce: 1, unix_ns: 2, counts }).unwrap();
        write(&mut bytes, &FromAgent::Ready).unwrap();
        let mut from = bytes.as_slice();
        let first: FromAgent = read(&mut from, MESSAGE_BYTES_MAX).unwrap();
        let FromAgent::Probed { nonce: 1, unix_ns: 2, counts: read } = first else {
            panic!("{first:?}")
        };
        assert_eq!(read, counts);
        let second: FromAgent = super::read(&mut from, MESSAGE_BYTES_MAX).unwrap();
        assert!(matches!(second, FromAgent::Ready));
        let end = super::read::<FromAgent>(&mut from, MESSAGE_BYTES_MAX).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused() {
        let long = [0xFF; 8];
        let error = read::<ToAgent>(&mut long.as_slice(), HELLO_BYTES_MAX).unwrap_err();
        assert!(error.to_string().contains("4096 are allowed"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_more(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let result = read::<ToAgent>(&mut bytes.as_slice(), HELLO_BYTES_MAX);
            prop_assert!(result.is_err() || bytes.len() > LENGTH_BYTES);
        }
    }
}
