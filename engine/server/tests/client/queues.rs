//! Programs that are slower than what they follow.

use gridcast_client::{Client, Item, Options, Overflow, Reason, SubscribeOptions};

use crate::hearing::{States, item, until, within};
use crate::server::Server;

async fn publish(client: &Client, count: u64) {
    for number in 1..=count {
        within(client.publish("t", number.to_string())).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_drops_its_oldest_and_tells_it() {
    let server = Server::start(&[]);
    let client = States::default().client(Options::new(server.url()));
    let options = SubscribeOptions::new().queue_max(10);
    let mut subscription = client.subscribe("t", options).unwrap();
    within(subscription.ready()).await.unwrap();
    publish(&client, 100).await;
    until("all came", || subscription.position().is_some_and(|at| at.seq == 100)).await;
    assert_eq!(subscription.queued(), 10);
    let Item::Gap(gap) = item(&mut subscription).await else { panic!("no gap") };
    assert_eq!((gap.from, gap.to, gap.frames, gap.reason), (1, 90, Some(90), Reason::Queue));
    for seq in 91..=100 {
        let Item::Message(message) = item(&mut subscription).await else { panic!("no message") };
        assert_eq!((message.position.seq, message.text()), (seq, Some(&*seq.to_string())));
    }
}

#[tokio::test]
async fn a_queue_that_pauses_loses_nothing_and_holds_up_no_other() {
    let server = Server::start(&[]);
    let client = States::default().client(Options::new(server.url()));
    let options = SubscribeOptions::new().queue_max(10).overflow(Overflow::Pause);
    let mut slow = client.subscribe("t", options).unwrap();
    let mut quick = client.subscribe("+", SubscribeOptions::new().queue_max(1000)).unwrap();
    within(slow.ready()).await.unwrap();
    within(quick.ready()).await.unwrap();
    publish(&client, 200).await;
    for subscription in [&mut quick, &mut slow] {
        for seq in 1..=200 {
            let Item::Message(message) = item(subscription).await else { panic!("no message") };
            assert_eq!(message.position.seq, seq);
        }
    }
}

/// Dropping a subscription gives it up at the server as well, and its topic is free again.
#[tokio::test]
async fn a_dropped_subscription_is_given_up() {
    let server = Server::start(&[]);
    let client = States::default().client(Options::new(server.url()));
    let first = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(first.ready()).await.unwrap();
    assert_eq!(within(client.publish("t", "1")).await.unwrap().subscribers, 1);
    drop(first);
    assert_eq!(within(client.publish("t", "2")).await.unwrap().subscribers, 0);
    let mut second = client.subscribe("t", SubscribeOptions::new()).unwrap();
    assert_eq!(within(second.ready()).await.unwrap().seq, 2);
    within(client.publish("t", vec![0, 255])).await.unwrap();
    let Item::Message(message) = item(&mut second).await else { panic!("no message") };
    assert_eq!((message.text(), &*message.payload), (None, &[0, 255][..]));
}
