//! The publishers that a subscriber follows, and the index of each among them. Must not know
//! sockets.

/// The publishers whose frames a subscriber must receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Every publisher; such a dashboard is called a wall.
    All,
    /// One publisher, by index into `Plan::publishers`.
    One(u32),
    /// Several publishers, by a range of `Plan::followed`.
    Many {
        /// Start of the range.
        from: u32,
        /// Length of the range.
        count: u32,
    },
}

impl Follows {
    /// The number of publishers followed; the argument is the number of all.
    pub fn count(self, publishers: usize) -> usize {
        match self {
            Follows::All => publishers,
            Follows::One(_) => 1,
            Follows::Many { count, .. } => count as usize,
        }
    }

    /// The publishers, in order.
    pub fn publishers(
        self,
        followed: &[u32],
        publishers: usize,
    ) -> impl Iterator<Item = u32> + use<'_> {
        let (from, several) = match self {
            Follows::All => (0..publishers as u32, &[][..]),
            Follows::One(publisher) => (publisher..publisher + 1, &[][..]),
            Follows::Many { .. } => (0..0, self.range(followed)),
        };
        from.chain(several.iter().copied())
    }

    /// The index of a publisher among them.
    #[inline]
    pub fn place_of(self, publisher: u32, followed: &[u32]) -> Option<u32> {
        match self {
            Follows::All => Some(publisher),
            Follows::One(one) => (one == publisher).then_some(0),
            Follows::Many { .. } => {
                self.range(followed).binary_search(&publisher).ok().map(|place| place as u32)
            }
        }
    }

    #[inline]
    fn range(self, followed: &[u32]) -> &[u32] {
        let Follows::Many { from, count } = self else { return &[] };
        followed.get(from as usize..(from + count) as usize).unwrap_or_default()
    }
}
