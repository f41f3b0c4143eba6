//! Admission: counts connections, in total and per source address, and how fast they come. Answers
//! whether one more is too many. Must not close anything.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::limits::rate::TokenBucket;
use crate::metrics::Gate;
use crate::settings::config::Limits;

/// The doorkeeper of an engine, shared by its cores.
#[derive(Debug, Default)]
pub struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_source: FxHashMap<IpAddr, Source>,
    /// How many of those have no connection: only their rate is remembered.
    idle: usize,
    accepts: Option<TokenBucket>,
}

#[derive(Debug, Default)]
struct Source {
    open: usize,
    handshakes: Option<TokenBucket>,
}

/// Why a connection is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The engine has as many as it takes.
    #[error("the engine has {0} connections and takes no more (limits.connections_max)")]
    Engine(usize),
    /// The core has descriptors for no more.
    #[error(
        "this core has descriptors for {0} connections and takes no more: come again, or raise \
         their limit (ulimit -Hn, LimitNOFILE=)"
    )]
    Descriptors(usize),
    /// The source address has as many as one may have.
    #[error(
        "there are {0} connections from this address, no more are taken \
         (limits.connections_per_source_max)"
    )]
    Source(usize),
    /// The source address opens them too fast.
    #[error(
        "more than {0} connections a second from this address \
         (limits.handshakes_per_s_per_source)"
    )]
    SourceRate(u32),
    /// All sources together open them too fast.
    #[error("more than {0} connections a second (limits.accepts_per_s_max)")]
    Rate(u32),
}

impl Full {
    /// The gate in the metrics.
    pub fn gate(self) -> Gate {
        match self {
            Self::Engine(_) => Gate::Connections,
            Self::Descriptors(_) => Gate::Descriptors,
            Self::Source(_) => Gate::Source,
            Self::SourceRate(_) => Gate::SourceRate,
            Self::Rate(_) => Gate::AcceptRate,
        }
    }

    /// After how long trying again makes sense: the value of `Retry-After`, s.
    pub fn retry_after_s(self) -> &'static str {
        match self {
            Self::Engine(_) | Self::Descriptors(_) | Self::Source(_) => "5",
            Self::SourceRate(_) | Self::Rate(_) => "1",
        }
    }
}

impl Admission {
    /// Counts a connection in; it must [`leave`](Self::leave) even when it is refused, because
    /// telling it so takes a connection.
    ///
    /// # Errors
    /// [`Full`] when it is one too many.
    pub fn enter(&self, source: IpAddr, limits: &Limits, now_ns: u64) -> Result<(), Full> {
        let mut counts = self.lock();
        counts.total += 1;
        let total = counts.total;
        let (mut idle, mut rate_holds) = (counts.idle, true);
        let of_source = counts.by_source.entry(group(source)).or_insert_with(|| {
            idle += 1;
            Source::default()
        });
        idle -= usize::from(of_source.open == 0);
        of_source.open += 1;
        let open = of_source.open;
        let per_source_per_s = limits.handshakes_per_s_per_source;
        if per_source_per_s > 0 {
            rate_holds = take(&mut of_source.handshakes, per_source_per_s, now_ns);
        }
        counts.idle = idle;
        if total > limits.connections_max {
            return Err(Full::Engine(limits.connections_max));
        }
        let per_source_max = limits.connections_per_source_max;
        if per_source_max > 0 && open > per_source_max {
            return Err(Full::Source(per_source_max));
        }
        if !rate_holds {
            return Err(Full::SourceRate(per_source_per_s));
        }
        let per_s = limits.accepts_per_s_max;
        if per_s > 0 && !take(&mut counts.accepts, per_s, now_ns) {
            return Err(Full::Rate(per_s));
        }
        Ok(())
    }

    /// Counts a connection out.
    pub fn leave(&self, source: IpAddr, now_ns: u64) {
        let mut counts = self.lock();
        counts.total = counts.total.saturating_sub(1);
        let source = group(source);
        let Some(of_source) = counts.by_source.get_mut(&source) else { return };
        of_source.open = of_source.open.saturating_sub(1);
        if of_source.open > 0 {
            return;
        }
        if of_source.handshakes.is_none() {
            counts.by_source.remove(&source);
            return;
        }
        counts.idle += 1;
        if counts.idle > IDLE_SOURCES_MAX {
            counts.forget_idle(now_ns);
        }
    }

    /// Connections there are now.
    pub fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Forgets sources without a connection whose rate has nothing to remember; all of them when
    /// that is not enough: who floods from so many addresses is not held back by a rate for each.
    fn forget_idle(&mut self, now_ns: u64) {
        let is_spent =
            |bucket: &Option<TokenBucket>| bucket.is_some_and(|bucket| !bucket.is_full(now_ns));
        self.by_source.retain(|_, source| source.open > 0 || is_spent(&source.handshakes));
        self.idle = self.by_source.values().filter(|source| source.open == 0).count();
        if self.idle > IDLE_SOURCES_MAX / 2 {
            self.by_source.retain(|_, source| source.open > 0);
            self.idle = 0;
        }
    }
}

fn take(bucket: &mut Option<TokenBucket>, per_s: u32, now_ns: u64) -> bool {
    let bucket = bucket.get_or_insert_with(|| TokenBucket::new(per_s, now_ns));
    bucket.retune(per_s, now_ns);
    bucket.take(now_ns)
}

/// One host usually holds a whole IPv6 /64, so that is what counts as a source.
fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Sources without a connection whose rate is remembered: about 5 MiB.
const IDLE_SOURCES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::config::Config;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
    const S: u64 = 1_000_000_000;

    fn limits(connections_max: usize, connections_per_source_max: usize) -> Limits {
        Limits { connections_max, connections_per_source_max, ..Config::default().limits }
    }

    #[test]
    fn total_and_source_are_limited_apart() {
        let (admission, limits) = (Admission::default(), limits(3, 2));
        assert_eq!(admission.enter(A, &limits, 0), Ok(()));
        assert_eq!(admission.enter(A, &limits, 0), Ok(()));
        assert_eq!(admission.enter(A, &limits, 0), Err(Full::Source(2)));
        admission.leave(A, 0);
        assert_eq!(admission.enter(B, &limits, 0), Ok(()));
        assert_eq!(admission.enter(B, &limits, 0), Err(Full::Engine(3)));
    }

    #[test]
    fn counts_return_to_nothing() {
        let (admission, limits) = (Admission::default(), limits(1, 0));
        for _ in 0..3 {
            assert_eq!(admission.enter(A, &limits, 0), Ok(()));
            admission.leave(A, 0);
        }
        assert_eq!(admission.total(), 0);
        assert!(admission.lock().by_source.is_empty());
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let (admission, limits) = (Admission::default(), limits(9, 1));
        assert_eq!(admission.enter("2001:db8::1".parse().unwrap(), &limits, 0), Ok(()));
        assert!(admission.enter("2001:db8::2".parse().unwrap(), &limits, 0).is_err());
        assert_eq!(admission.enter("2001:db8:0:1::1".parse().unwrap(), &limits, 0), Ok(()));
    }

    #[test]
    fn a_source_that_leaves_does_not_escape_its_rate() {
        let admission = Admission::default();
        let limits = Limits { handshakes_per_s_per_source: 2, ..limits(9, 0) };
        for expected in [Ok(()), Ok(()), Err(Full::SourceRate(2))] {
            assert_eq!(admission.enter(A, &limits, S), expected);
            admission.leave(A, S);
        }
        assert_eq!(admission.enter(B, &limits, S), Ok(()));
        assert_eq!(admission.enter(A, &limits, 2 * S), Ok(()));
    }

    #[test]
    fn all_together_have_a_rate() {
        let admission = Admission::default();
        let limits = Limits { accepts_per_s_max: 2, ..limits(9, 0) };
        assert_eq!(admission.enter(A, &limits, S), Ok(()));
        assert_eq!(admission.enter(B, &limits, S), Ok(()));
        assert_eq!(admission.enter(A, &limits, S), Err(Full::Rate(2)));
        assert_eq!(admission.enter(A, &limits, 2 * S), Ok(()));
    }

    #[test]
    fn remembered_rates_are_bounded() {
        let admission = Admission::default();
        let limits = Limits { handshakes_per_s_per_source: 2, ..limits(9, 0) };
        assert_eq!(admission.enter(A, &limits, S), Ok(()));
        for host in 0..=IDLE_SOURCES_MAX as u32 {
            let source = IpAddr::from((host | 0x0B00_0000).to_be_bytes());
            assert_eq!(admission.enter(source, &limits, S), Ok(()));
            admission.leave(source, S);
        }
        let counts = admission.lock();
        assert_eq!((counts.idle, counts.by_source.len()), (0, 1), "who is there is kept");
    }
}
