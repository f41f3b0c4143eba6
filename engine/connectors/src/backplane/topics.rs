//! The frames of a batch as the engine applies them. Owns the topics that were seen, so that each
//! is checked and kept once. Must not apply anything.

use std::collections::HashSet;
use std::sync::Arc;

use gridcast::feed::domain::LogFrame;
use gridcast::feed::source::Source;
use gridcast::feed::topic::{Topic, TopicError};

use crate::backplane::batch::Batch;

/// Topics that are remembered; with more, all are forgotten.
const TOPICS_MAX: usize = 1 << 18;

/// See the file header.
#[derive(Debug, Default)]
pub struct Topics {
    known: HashSet<Topic>,
}

impl Topics {
    /// The frames of a batch. Their payloads share its bytes. `own` has the sources of a batch of
    /// this node, in the order of its frames.
    ///
    /// # Errors
    /// When one has no topic: then none of the batch can be used, because places count.
    pub fn frames_of(
        &mut self,
        batch: &Batch,
        own: &[Source],
    ) -> Result<Arc<[LogFrame]>, TopicError> {
        let frames = batch.frames().enumerate().map(|(index, frame)| {
            let elsewhere =
                if frame.is_bridged { Source::BRIDGED_ELSEWHERE } else { Source::CLIENTS };
            Ok(LogFrame {
                topic: self.topic(frame.topic)?,
                kind: frame.kind,
                source: own.get(index).copied().unwrap_or(elsewhere),
                payload: batch.share(frame.payload),
            })
        });
        frames.collect()
    }

    fn topic(&mut self, text: &str) -> Result<Topic, TopicError> {
        if let Some(topic) = self.known.get(text) {
            return Ok(topic.clone());
        }
        let topic = Topic::new(text)?;
        if self.known.len() >= TOPICS_MAX {
            self.known.clear();
        }
        self.known.insert(topic.clone());
        Ok(topic)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed step ends its test
mod tests {
    use super::*;
    use crate::backplane::batch::{BatchId, Builder, Frame, Head, Note};
    use gridcast::frame::Kind;

    #[test]
    fn what_a_bridge_of_this_node_brought_in_is_still_its_own() {
        let mut builder = Builder::new("n");
        for is_bridged in [true, false] {
            let (topic, kind) = ("a", Kind::Text);
            builder.push(&Frame { topic, kind, is_bridged, counter: 0, payload: b"x" });
        }
        let id = BatchId { boot: 1, number: 1 };
        let (previous, previous_at, missed, epoch, made_ms) = (0, 0, 0, 0, 0);
        let (shards, note) = (1, Note::Frames);
        let head = Head { id, previous, previous_at, missed, epoch, made_ms, shards, note };
        let batch = Batch::decode(builder.seal(&head)).unwrap();
        let sources_with = |own: &[Source]| {
            let frames = Topics::default().frames_of(&batch, own).unwrap();
            [frames[0].source, frames[1].source]
        };
        assert_eq!(sources_with(&[]), [Source::BRIDGED_ELSEWHERE, Source::CLIENTS]);
        let own = [Source(7), Source::CLIENTS];
        assert_eq!(sources_with(&own), own);
    }
}
