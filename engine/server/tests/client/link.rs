//! A connection without a client around it, as bridges use it.

use std::time::Duration;

use gridcast_client::link::{Connection, Endpoint, Incoming, LinkOptions};
use gridcast_client::wire::command;
use gridcast_client::wire::told::Told;
use tokio::net::TcpStream;

use crate::hearing::{until, within};
use crate::server::Server;

#[tokio::test]
async fn over_a_stream_of_ones_own_it_writes_while_nothing_is_read() {
    let server = Server::start(&[]);
    let endpoint = Endpoint::parse(&server.url()).unwrap();
    let stream = Box::new(TcpStream::connect(server.address).await.unwrap());
    let options = LinkOptions {
        tls: None,
        token_first: false,
        connect_timeout: Duration::from_secs(10),
        message_bytes_max: 1 << 20,
    };
    let mut connection = Connection::over(stream, &endpoint, None, &options).await.unwrap();
    assert!(connection.is_binary && connection.hello.heartbeat_ms > 0);
    let mut queued = vec![command::publish(1, "t", b"1", true)];
    tokio::select! {
        Err(ended) = connection.outgoing(|| queued.pop()) => panic!("{ended:?}"),
        () = until("it is published", || server.metric("gridcast_publishes_total") == 1) => {}
    }
    let Ok(Incoming::Text(text)) = within(connection.incoming(|| None::<String>)).await else {
        panic!("no answer")
    };
    let told: Told<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!((told.id, told.published.map(|taken| taken.seq)), (Some(1), Some(1)));
}
