//! How long a server that sends pings may stay silent before its client gives up. Pure: the caller
//! passes the time. Must not know what a ping looks like.

/// The remaining time, ns; unlimited until an interval is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PingTimeout {
    /// 0 means unlimited.
    limit_ns: u64,
    from_ns: u64,
}

impl PingTimeout {
    /// Sets the interval between pings, from now on; 0 means unlimited.
    pub fn begin(limit_ms: u64, now_ns: u64) -> PingTimeout {
        PingTimeout { limit_ns: limit_ms.saturating_mul(MILLISECOND_NS), from_ns: now_ns }
    }

    /// Records a ping, or a message that counts as one.
    pub fn renew(&mut self, now_ns: u64) {
        self.from_ns = now_ns;
    }

    /// Whether a ping is overdue.
    ///
    /// # Errors
    /// The close reason when the ping is overdue.
    pub fn check(&self, now_ns: u64) -> Result<(), String> {
        let waited_ns = now_ns.saturating_sub(self.from_ns);
        if self.limit_ns > 0 && waited_ns > self.limit_ns {
            return Err("no ping in time".to_owned());
        }
        Ok(())
    }
}

const MILLISECOND_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_pings_in_time_is_waited_for() {
        let mut ping_timeout = PingTimeout::begin(45_000, 7);
        assert_eq!(ping_timeout.check(7 + 45_000_000_000), Ok(()));
        assert!(ping_timeout.check(8 + 45_000_000_000).is_err());
        ping_timeout.renew(45_000_000_000);
        assert_eq!(ping_timeout.check(90_000_000_000), Ok(()));
    }

    #[test]
    fn without_a_limit_there_is_no_end_to_it() {
        assert_eq!(PingTimeout::default().check(u64::MAX), Ok(()));
        assert_eq!(PingTimeout::begin(0, 5).check(u64::MAX), Ok(()));
        assert_eq!(PingTimeout::begin(u64::MAX, 5).check(u64::MAX), Ok(()));
    }
}
