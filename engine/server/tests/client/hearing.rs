//! How tests wait for what a client brings and does. Owns the deadline. Must not know what a test
//! expects.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridcast_client::{Client, Gap, Item, Options, Reason, State, Subscription, Transport};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long anything may take before a test gives up: far more than it ever should.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at what gives no event, such as another process.
const POLL: Duration = Duration::from_millis(5);

pub async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(DEADLINE, waiting).await.expect("it comes in time")
}

/// Waits for what gives no event.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looks = (DEADLINE.as_millis() / POLL.as_millis()) as usize;
    for _ in 0..looks {
        if is_so() {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("in vain: {what}");
}

/// What a client did, for those who wait for it.
#[derive(Clone, Default)]
pub struct States {
    seen: Arc<Mutex<Vec<State>>>,
    news: Arc<Notify>,
}

impl States {
    /// A client that tells them, and comes back fast.
    pub fn client(&self, options: Options) -> Client {
        let states = self.clone();
        let options = options.on_state(move |state| {
            states.seen.lock().unwrap().push(state.clone());
            states.news.notify_waiters();
        });
        let (first, largest) = (Duration::from_millis(20), Duration::from_millis(100));
        Client::start(options.reconnect(first, largest)).unwrap()
    }

    /// Waits until it was open so many times.
    pub async fn open(&self, times: usize) {
        self.reached(times, |state| *state == State::Open).await;
    }

    /// Waits until it works by a transport that is no WebSocket.
    pub async fn fallback(&self, transport: Transport) {
        self.reached(1, |state| *state == State::Fallback(transport)).await;
    }

    /// Waits until it waits for the so manyth time; answers why and how long.
    pub async fn waiting(&self, times: usize) -> (String, Duration) {
        match self.reached(times, |state| matches!(state, State::Waiting { .. })).await {
            State::Waiting { reason, delay } => (reason, delay),
            state => panic!("{state:?}"),
        }
    }

    /// How often it was open.
    pub fn opened(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|state| **state == State::Open).count()
    }

    async fn reached(&self, times: usize, is_it: impl Fn(&State) -> bool) -> State {
        within(async {
            loop {
                let mut news = std::pin::pin!(self.news.notified());
                news.as_mut().enable();
                let found =
                    self.seen.lock().unwrap().iter().filter(|s| is_it(s)).nth(times - 1).cloned();
                match found {
                    Some(state) => return state,
                    None => news.await,
                }
            }
        })
        .await
    }
}

pub async fn item(subscription: &mut Subscription) -> Item {
    within(subscription.next()).await.expect("it goes on").expect("it is no error")
}

/// The next messages, and nothing else.
pub async fn texts(subscription: &mut Subscription, expected: &[&str]) {
    for expected in expected {
        match item(subscription).await {
            Item::Message(message) => assert_eq!(message.text(), Some(*expected)),
            other => panic!("{other:?} instead of {expected}"),
        }
    }
}

pub async fn resumed(subscription: &mut Subscription) {
    match item(subscription).await {
        Item::Resumed(resumed) => assert_eq!(&*resumed.topic, subscription.topic()),
        other => panic!("{other:?}"),
    }
}

pub async fn gap(subscription: &mut Subscription) -> Gap {
    match item(subscription).await {
        Item::Gap(gap) => gap,
        other => panic!("{other:?}"),
    }
}

/// It tells a new life, that nobody knows what was missed, and what there is.
pub async fn restarted(subscription: &mut Subscription, expected: &[&str]) {
    let Item::Restarted(told) = item(subscription).await else { panic!("no new life") };
    assert_ne!(told.epoch_before, told.epoch);
    let gap = gap(subscription).await;
    assert_eq!((gap.reason, gap.epoch, gap.frames), (Reason::Epoch, told.epoch, None));
    texts(subscription, expected).await;
}
