//! Which way the frames of this node's own batches came in. A batch says only whether that was by a
//! bridge, which is all that other nodes need; here a frame that came in by one bridge goes out by
//! the others. Owns the bound on what is remembered. Must not know topics.

use std::collections::VecDeque;

use gridcast::feed::source::Source;

/// Frames that are remembered: 2 MiB of numbers. A node has far fewer on their way to the log and
/// back.
const FRAMES_MAX: usize = 1 << 20;

/// See the file header.
#[derive(Debug, Default)]
pub struct Sources {
    /// By the numbers of their batches, which rise.
    batches: VecDeque<(u64, Box<[Source]>)>,
    frames: usize,
}

impl Sources {
    /// Takes note of a batch. Those that are oldest are forgotten beyond the bound.
    pub fn note(&mut self, number: u64, sources: Box<[Source]>) {
        self.frames += sources.len();
        self.batches.push_back((number, sources));
        while self.frames > FRAMES_MAX
            && let Some((_, oldest)) = self.batches.pop_front()
        {
            self.frames -= oldest.len();
        }
    }

    /// The sources of a batch, in the order of its frames; none where it is forgotten.
    #[must_use]
    pub fn of(&self, number: u64) -> &[Source] {
        let found = self.batches.binary_search_by_key(&number, |(known, _)| *known);
        let batch = found.ok().and_then(|at| self.batches.get(at));
        batch.map_or(&[], |(_, sources)| sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let mut sources = Sources::default();
        sources.note(1, Box::new([Source(7), Source::CLIENTS]));
        assert_eq!(sources.of(1), [Source(7), Source::CLIENTS]);
        assert!(sources.of(2).is_empty());
        sources.note(2, vec![Source(8); FRAMES_MAX - 1].into());
        assert_eq!((sources.of(1).len(), sources.of(2).len()), (0, FRAMES_MAX - 1));
        sources.note(3, Box::new([Source(9)]));
        assert_eq!((sources.of(2).len(), sources.of(3)), (FRAMES_MAX - 1, &[Source(9)][..]));
    }
}
