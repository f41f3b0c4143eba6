//! Admission: how many connections there are, in total and per source address. Owns the counts.
//! Must not close anything; it says who is one too many.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

/// The doorkeeper of an engine, shared by its cores.
#[derive(Debug)]
pub struct Admission {
    counts: Mutex<Counts>,
    connections_max: usize,
    connections_per_source_max: usize,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_source: FxHashMap<IpAddr, usize>,
}

/// Why a connection is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The engine has as many as it takes.
    #[error("the engine has {0} connections and takes no more (limits.connections_max)")]
    Engine(usize),
    /// The source address has as many as one may have.
    #[error(
        "there are {0} connections from this address, no more are taken \
         (limits.connections_per_source_max)"
    )]
    Source(usize),
}

impl Admission {
    /// Takes at most `connections_max`, and of them `connections_per_source_max` per address, where
    /// 0 means no limit of its own.
    pub fn new(connections_max: usize, connections_per_source_max: usize) -> Self {
        Self { counts: Mutex::default(), connections_max, connections_per_source_max }
    }

    /// Counts a connection in; it must [`leave`](Self::leave) even when it is refused, because
    /// telling it so takes a connection.
    ///
    /// # Errors
    /// [`Full`] when it is one too many.
    pub fn enter(&self, source: IpAddr) -> Result<(), Full> {
        let mut counts = self.lock();
        counts.total += 1;
        let total = counts.total;
        let of_source = counts.by_source.entry(group(source)).or_insert(0);
        *of_source += 1;
        if total > self.connections_max {
            return Err(Full::Engine(self.connections_max));
        }
        let per_source_max = self.connections_per_source_max;
        if per_source_max > 0 && *of_source > per_source_max {
            return Err(Full::Source(per_source_max));
        }
        Ok(())
    }

    /// Counts a connection out.
    pub fn leave(&self, source: IpAddr) {
        let mut counts = self.lock();
        counts.total = counts.total.saturating_sub(1);
        let source = group(source);
        if let Some(of_source) = counts.by_source.get_mut(&source) {
            *of_source -= 1;
            if *of_source == 0 {
                counts.by_source.remove(&source);
            }
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

/// One host usually holds a whole IPv6 /64, so that is what counts as a source.
fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    #[test]
    fn total_and_source_are_limited_apart() {
        let admission = Admission::new(3, 2);
        assert_eq!(admission.enter(A), Ok(()));
        assert_eq!(admission.enter(A), Ok(()));
        assert_eq!(admission.enter(A), Err(Full::Source(2)));
        admission.leave(A);
        assert_eq!(admission.enter(B), Ok(()));
        assert_eq!(admission.enter(B), Err(Full::Engine(3)));
    }

    #[test]
    fn counts_return_to_nothing() {
        let admission = Admission::new(1, 0);
        for _ in 0..3 {
            assert_eq!(admission.enter(A), Ok(()));
            admission.leave(A);
        }
        assert_eq!(admission.total(), 0);
        assert!(admission.lock().by_source.is_empty());
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let admission = Admission::new(9, 1);
        assert_eq!(admission.enter("2001:db8::1".parse().unwrap()), Ok(()));
        assert!(admission.enter("2001:db8::2".parse().unwrap()).is_err());
        assert_eq!(admission.enter("2001:db8:0:1::1".parse().unwrap()), Ok(()));
    }
}
