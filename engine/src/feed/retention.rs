//! Retention: how much of a feed is kept, for each class of topics. Must not keep anything itself.

use crate::feed::options::LagPolicy;
use crate::feed::topic::Target;

/// What a feed keeps beside its last frame, and what happens to those it leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most frames kept.
    pub frames_max: u64,
    /// Bytes kept per lane, at least; whole segments are given up beyond it. 0 keeps the last
    /// frame.
    pub bytes_max: u64,
    /// Age at which a frame is given up, in ns; none keeps frames of any age.
    pub age_ns_max: Option<u64>,
    /// Default for subscribers that retention passes.
    pub lag: LagPolicy,
}

impl Retention {
    /// The last frame and nothing else: what every feed falls back to when memory is tight.
    pub fn last_frame_only(self) -> Self {
        Self { frames_max: 1, bytes_max: 0, ..self }
    }
}

/// The classes of an engine: the first that holds for a feed decides.
#[derive(Clone, Debug)]
pub struct RetentionClasses {
    classes: Vec<(Target, Retention)>,
    default: Retention,
}

impl RetentionClasses {
    /// Classes in order of precedence, then what holds where none matches.
    pub fn new(classes: Vec<(Target, Retention)>, default: Retention) -> Self {
        Self { classes, default }
    }

    /// What holds for `feed`: for a topic the first class that matches it, for a pattern the class
    /// written for exactly that pattern.
    pub fn find(&self, feed: &Target) -> Retention {
        let found = self.classes.iter().find(|(class, _)| match feed {
            Target::Topic(topic) => class.matches(topic),
            Target::Pattern(_) => class == feed,
        });
        found.map_or(self.default, |(_, retention)| *retention)
    }
}
