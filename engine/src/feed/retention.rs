//! Retention: how much of a feed is kept, per class of topics. Must not keep anything itself.

use crate::feed::pattern::Pattern;
use crate::subscription::LagPolicy;

/// What a feed keeps beside its last frame, and what happens to those it leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most frames kept.
    pub frames_max: u64,
    /// Bytes kept per lane, at least; whole segments are given up beyond it. 0 keeps the last frame.
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

/// The classes of an engine: the first whose pattern matches a feed's name decides.
#[derive(Clone, Debug)]
pub struct RetentionClasses {
    classes: Vec<(Pattern, Retention)>,
    default: Retention,
}

impl RetentionClasses {
    /// Classes in order of precedence, then what holds where none matches.
    pub fn new(classes: Vec<(Pattern, Retention)>, default: Retention) -> Self {
        Self { classes, default }
    }

    /// The retention of the first class for which `applies` is true.
    pub fn find(&self, applies: impl Fn(&Pattern) -> bool) -> Retention {
        let found = self.classes.iter().find(|(pattern, _)| applies(pattern));
        found.map_or(self.default, |(_, retention)| *retention)
    }
}
