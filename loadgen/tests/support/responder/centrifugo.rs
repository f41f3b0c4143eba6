//! Centrifugo, in JSON: commands with numbers, replies, publications. Data is passed on as it was
//! written.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tungstenite::Message;

use super::{Client, Hub, Protocol};

pub struct Centrifugo;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(default)]
    id: u64,
    connect: Option<Connect>,
    subscribe: Option<Subscribe>,
    publish: Option<Publish>,
}

#[derive(Deserialize)]
struct Connect {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    channel: String,
    data: Box<RawValue>,
}

impl Protocol for Centrifugo {
    fn welcome(&self, client: &mut Client, hub: &Hub) {
        if client.path != "/connection/websocket" {
            hub.complaints.lock().unwrap().push(format!("asks for {}", client.path));
        }
    }

    fn hear(&self, client: &mut Client, message: Message, hub: &Hub) -> Result<(), String> {
        let Message::Text(text) = message else { return Err("not a text".to_owned()) };
        text.split('\n').try_for_each(|line| match line {
            "{}" => {
                hub.ponged();
                Ok(())
            }
            line => command(client, line, hub),
        })
    }
}

fn command(client: &mut Client, line: &str, hub: &Hub) -> Result<(), String> {
    let command: Command = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
    let id = command.id;
    // Numbers grow; without one there is no reply.
    let newest: u64 = client.noted.as_ref().map_or(0, |id| id.parse().unwrap());
    if id <= newest {
        return Err(format!("number {id} after {newest}"));
    }
    client.noted = Some(id.to_string());
    let reply = match command {
        Command { connect: Some(Connect { token }), .. } if !client.is_in => {
            if hub.manners.token.is_some_and(|expected| token != expected) {
                json!({"id": id, "error": {"code": 101, "message": "unauthorized"}})
            } else {
                client.is_in = true;
                let name = format!("client-{}", client.line.id);
                let connect = json!({"client": name, "version": "6", "ping": 25, "pong": true});
                json!({"id": id, "connect": connect})
            }
        }
        Command { subscribe: Some(Subscribe { channel }), .. } if client.is_in => {
            if hub.has_joined(&channel, client) {
                json!({"id": id, "error": {"code": 105, "message": "already subscribed"}})
            } else {
                hub.join(&channel, client);
                json!({"id": id, "subscribe": {}})
            }
        }
        Command { publish: Some(Publish { channel, data }), .. } if client.is_in => {
            publish(client, &channel, &data, hub);
            json!({"id": id, "publish": {}})
        }
        _ => return Err(format!("out of turn: {line}")),
    };
    client.line.say(reply.to_string());
    Ok(())
}

/// With a ping there are two objects in a message.
fn publish(client: &mut Client, channel: &str, data: &RawValue, hub: &Hub) {
    let (is_passed_on, is_pinged) = hub.count(client);
    let (name, offset) = (json!(hub.label(client, channel)), client.published);
    let publication = format!(r#"{{"data":{data},"offset":{offset}}}"#);
    let push = format!(r#"{{"push":{{"channel":{name},"pub":{publication}}}}}"#);
    let text = match (is_passed_on, is_pinged) {
        (true, true) => format!("{{}}\n{push}"),
        (true, false) => push,
        (false, _) => return,
    };
    hub.deliver(channel, client.line.id, &[Message::text(text)]);
}
