//! How many connections the descriptors of a thread are enough for. Owns the reserve that is kept
//! for probes and refusals. Must not open or close anything but to count.

use rustix::process::Resource;

/// What `/proc` calls the table of the calling thread.
const TABLE: &str = "/proc/thread-self/fd";
/// The smallest and the largest reserve; an eighth of the limit lies in between.
const RESERVE_MIN: usize = 8;
const RESERVE_MAX: usize = 64;

/// The room of one descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Connections that are served.
    pub connections: usize,
    /// Those beyond, of whom only probes are served and others are told that there is no room.
    pub reserve: usize,
    /// Descriptors that were open before the first of either.
    pub open: usize,
    /// Descriptors that may be open.
    pub limit: usize,
}

impl Room {
    /// Where nothing is limited.
    pub const UNLIMITED: Self =
        Self { connections: usize::MAX, reserve: 0, open: 0, limit: usize::MAX };

    /// What is left in the calling thread's table, which `sharers` threads fill.
    #[must_use]
    pub fn measure(sharers: usize) -> Self {
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        // One of those that are listed is the listing itself. Without /proc, a guess.
        let open = std::fs::read_dir(TABLE).map_or(16, |table| table.count().saturating_sub(1));
        Self::of(limit, open, sharers)
    }

    fn of(limit: usize, open: usize, sharers: usize) -> Self {
        let sharers = sharers.max(1);
        let free = limit.saturating_sub(open) / sharers;
        let reserve = (limit / sharers / 8).clamp(RESERVE_MIN, RESERVE_MAX);
        let connections = free.saturating_sub(reserve).max(1);
        // One is never used: an accepted socket is seen before it can be counted.
        Self { connections, reserve: free.saturating_sub(connections + 1), open, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_room_for_connections_and_a_reserve() {
        for (limit, open, sharers, connections, reserve) in [
            (64, 12, 1, 44, 7),
            (1024, 24, 1, 936, 63),
            (20_000, 20, 1, 19_916, 63),
            (1024, 24, 4, 218, 31),
            (20, 12, 1, 1, 6),
            (10, 12, 1, 1, 0),
            (usize::MAX, 12, 1, usize::MAX - 12 - 64, 63),
        ] {
            let room = Room::of(limit, open, sharers);
            assert_eq!((room.connections, room.reserve), (connections, reserve), "{limit}");
        }
    }

    #[test]
    fn what_is_open_is_counted() {
        let before = Room::measure(1);
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(Room::measure(1).open >= before.open.max(files.len()));
        assert!(before.limit >= before.connections + before.open);
    }
}
