//! Batches of the back-plane, as whoever may write to NATS or Redis put them there: what is taken
//! for one is read whole, holds no more than its bytes, and says the same when it is written again.
//! Owns no rule of the format.
#![no_main]

use bytes::Bytes;
use gridcast_connectors::backplane::batch::{
    Batch, Builder, FRAMES_MAX, Frame, NODE_BYTES_MAX, NUMBER_MAX,
};
use gridcast_connectors::backplane::topics::Topics;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = Batch::decode(Bytes::copy_from_slice(data)) else { return };
    assert!((1..=NUMBER_MAX).contains(&batch.head().id.number));
    assert!(batch.len() <= FRAMES_MAX && batch.node().len() <= NODE_BYTES_MAX);
    let frames: Vec<Frame<'_>> = batch.frames().collect();
    assert_eq!(frames.len(), batch.len(), "entries that cannot be read again");
    let held: usize = frames.iter().map(|frame| frame.topic.len() + frame.payload.len()).sum();
    assert!(held < data.len(), "{held} bytes out of {}", data.len());
    assert!(frames.iter().all(|frame| frame.counter <= NUMBER_MAX));
    written_again(&batch, &frames);
    // Where one entry has no topic, all of it is refused: places count.
    if let Ok(kept) = Topics::default().frames_of(&batch, &[]) {
        let same = kept.iter().zip(&frames).all(|(kept, frame)| {
            kept.topic.as_str() == frame.topic && kept.payload == frame.payload
        });
        assert!(same && kept.len() == frames.len());
    }
});

fn written_again(batch: &Batch, frames: &[Frame<'_>]) {
    let mut builder = Builder::new(batch.node());
    frames.iter().for_each(|frame| builder.push(frame));
    let again = Batch::decode(builder.seal(batch.head())).expect("it was written here");
    assert_eq!((again.head(), again.node()), (batch.head(), batch.node()));
    assert!(again.frames().eq(frames.iter().copied()));
}
