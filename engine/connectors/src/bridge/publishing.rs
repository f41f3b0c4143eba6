//! Publishing that waits while cores are behind, or log memory is used up. Owns how often is looked
//! whether that is over. Must not count anything: who calls knows what it published.

use std::time::Duration;

use gridcast::engine::publisher::Publisher;
use gridcast::feed::published::Published;
use gridcast::feed::registry::FeedError;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use tokio::time::sleep;

/// How often is looked whether a core has caught up, or log memory has become free.
const LOOK: Duration = Duration::from_millis(2);

/// Publishes one message, once there is room for it. See [`Publisher::publish`].
///
/// # Errors
/// [`FeedError`] that waiting for room does not help against.
pub async fn publish(
    publisher: &mut Publisher,
    topic: &Topic,
    kind: Kind,
    payload: &[u8],
) -> Result<Option<Published>, FeedError> {
    let is_passing = |error: &FeedError| matches!(error, FeedError::OverBudget);
    retry(publisher, is_passing, |publisher| publisher.publish(topic, kind, payload)).await
}

/// Tries `publish` until it succeeds, or fails for a reason that is not passing.
///
/// # Errors
/// That reason.
pub async fn retry<T>(
    publisher: &mut Publisher,
    is_passing: impl Fn(&FeedError) -> bool,
    mut publish: impl FnMut(&mut Publisher) -> Result<T, FeedError>,
) -> Result<T, FeedError> {
    loop {
        while publisher.must_wait() {
            sleep(LOOK).await;
        }
        match publish(publisher) {
            Err(error) if is_passing(&error) => sleep(LOOK).await,
            outcome => return outcome,
        }
    }
}
