//! A broadcast server with axum: as its example of a chat has it, a topic a channel.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use gridcast_peers::{Hub, Wish, port};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

type Topics = Arc<Hub<Message>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = port("axum 0.8");
    let app = Router::new().fallback(any(upgrade)).with_state(Topics::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let listener = listener.tap_io(|stream| {
        // Without it, small messages would wait for acknowledgements.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await
}

async fn upgrade(
    OriginalUri(uri): OriginalUri,
    State(topics): State<Topics>,
    request: WebSocketUpgrade,
) -> Response {
    let path = uri.path().to_owned();
    request.on_upgrade(async move |socket| serve(socket, &path, &topics).await.unwrap_or_default())
}

async fn serve(mut socket: WebSocket, path: &str, topics: &Topics) -> Option<()> {
    match Wish::of(path)? {
        Wish::Publish(topic) => {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Binary(_) | Message::Text(_)) {
                    topics.publish(&topic, message);
                }
            }
            None
        }
        Wish::Subscribe(topic) => {
            let mut feed = topics.subscribe(&topic);
            loop {
                tokio::select! {
                    message = feed.recv() => match message {
                        Ok(message) => socket.send(message).await.ok()?,
                        Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => return None,
                    },
                    message = socket.recv() => drop(message?.ok()?),
                }
            }
        }
    }
}
