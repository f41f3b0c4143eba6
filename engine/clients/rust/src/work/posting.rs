//! One publish by a plain request. Owns whether it may have been published. Must not choose which
//! is next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::request::Attempt;
use crate::error::Error;
use crate::items::{Position, Published};
use crate::link::{Ask, Ending, Http};
use crate::wire::in_path;
use crate::wire::told::Taken;

/// How long an answer may take: longer than the server waits for its log. The program gives its
/// publish up by a timeout of its own.
const WITHIN: Duration = Duration::from_secs(30);
/// An answer holds a position, or a reason.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What became of a publish.
pub enum Posted {
    /// The server said.
    Answered(Result<Published, Error>),
    /// It was surely not published.
    Unsent(Ending),
    /// It may have been published.
    Unanswered,
}

/// A publish under way; the connection comes back with its end.
pub type Posting = Pin<Box<dyn Future<Output = (Http, Posted)> + Send>>;

/// Begins, after a delay.
#[must_use]
pub fn post(mut http: Http, attempt: &Attempt, delay: Duration) -> Posting {
    let path = format!("/v1/publish/{}", in_path(&attempt.topic));
    let content_type = if attempt.payload.is_text {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    let ask = Ask::post(path, content_type, attempt.payload.bytes.clone());
    let was_sent = Arc::clone(&attempt.was_sent);
    Box::pin(async move {
        tokio::time::sleep(delay).await;
        let posted = posted(&mut http, &ask, &was_sent).await;
        (http, posted)
    })
}

async fn posted(http: &mut Http, ask: &Ask, was_sent: &AtomicBool) -> Posted {
    if let Err(ending) = http.connect().await {
        return Posted::Unsent(ending);
    }
    was_sent.store(true, Ordering::Release);
    match http.answer(ask, WITHIN, ANSWER_BYTES_MAX).await {
        Ok(body) => taken(&body),
        // Who is not let in has published nothing.
        Err(ending) if ending.is_about_token() => {
            was_sent.store(false, Ordering::Release);
            Posted::Unsent(ending)
        }
        Err(Ending { code: Some(code), reason, .. }) => {
            Posted::Answered(Err(Error::command(&code, &reason)))
        }
        Err(_) => Posted::Unanswered,
    }
}

fn taken(body: &[u8]) -> Posted {
    let Ok(Taken { epoch, seq, subscribers }) = serde_json::from_slice(body) else {
        return Posted::Unanswered;
    };
    let position = Position { epoch: epoch.as_ref().into(), seq };
    Posted::Answered(Ok(Published { position, subscribers }))
}
