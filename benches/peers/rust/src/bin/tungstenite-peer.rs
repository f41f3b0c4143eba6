//! A broadcast server with tokio-tungstenite: a task a socket, a broadcast channel a topic.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use gridcast_peers::{Hub, Wish, port};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = port("tokio-tungstenite 0.30");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let hub = Arc::new(Hub::default());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, Arc::clone(&hub)));
    }
}

async fn serve(stream: TcpStream, hub: Arc<Hub<Message>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut path = String::new();
    let note = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, note).await.ok()?;
    match Wish::of(&path)? {
        Wish::Publish(topic) => {
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() || message.is_text() {
                    hub.publish(&topic, message);
                }
            }
        }
        Wish::Subscribe(topic) => {
            let mut feed = hub.subscribe(&topic);
            let (mut out, mut inbound) = socket.split();
            loop {
                tokio::select! {
                    message = feed.recv() => match message {
                        Ok(message) => out.feed(message).await.ok()?,
                        Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => return None,
                    },
                    message = inbound.next() => drop(message?.ok()?),
                }
                // One flush for all that has come meanwhile.
                while let Ok(message) = feed.try_recv() {
                    out.feed(message).await.ok()?;
                }
                out.flush().await.ok()?;
            }
        }
    }
    None
}
