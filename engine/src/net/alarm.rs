//! An alarm: ends a poll after a time that is counted in nanoseconds. Owns the timer's descriptor.
//! Must not be read: each time that it goes off is an event of its own.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// See the file header.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// As `timerfd_create(2)`.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Has it go off once, after `delay` from now, and not when it was set to before.
    ///
    /// # Errors
    /// As `timerfd_settime(2)`.
    pub fn set(&self, delay: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec {
            tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(delay.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: never, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl Source for Alarm {
    fn register(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, of)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, of)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Instant;

    #[test]
    fn it_ends_a_poll_each_time_that_it_is_set() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        let mut alarm = Alarm::new().unwrap();
        poll.registry().register(&mut alarm, Token(7), Interest::READABLE).unwrap();
        for _ in 0..3 {
            let (began, delay) = (Instant::now(), Duration::from_micros(300));
            alarm.set(delay).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(began.elapsed() >= delay);
            assert!(events.iter().any(|event| event.token() == Token(7)));
        }
    }
}
