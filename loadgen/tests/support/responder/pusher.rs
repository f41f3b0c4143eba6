//! A server of Pusher's protocol with one application, which takes client events on private
//! channels from their members, and passes them on to the others.

use ring::hmac;
use serde_json::{Value, json};
use tungstenite::Message;

use super::{Client, Hub, Protocol};

pub struct Pusher;

impl Protocol for Pusher {
    fn welcome(&self, client: &mut Client, hub: &Hub) {
        if client.path != "/app/app-key?protocol=7" {
            hub.complaints.lock().unwrap().push(format!("asks for {}", client.path));
        }
        let data = json!({"socket_id": socket_id(client), "activity_timeout": 120}).to_string();
        let event = json!({"event": "pusher:connection_established", "data": data});
        client.line.say(event.to_string());
    }

    fn hear(&self, client: &mut Client, message: Message, hub: &Hub) -> Result<(), String> {
        let Message::Text(text) = message else { return Err("not a text".to_owned()) };
        let said: Value =
            serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))?;
        match said["event"].as_str() {
            Some("pusher:subscribe") => subscribe(client, &said["data"], hub),
            Some("pusher:pong") => hub.ponged(),
            Some("pusher:ping") => client.line.say(r#"{"event":"pusher:pong","data":{}}"#),
            Some(event) if event.starts_with("client-") => return pass_on(client, &said, hub),
            _ => return Err(format!("says {text}")),
        }
        Ok(())
    }
}

fn socket_id(client: &Client) -> String {
    format!("{}.77", client.line.id)
}

fn subscribe(client: &mut Client, data: &Value, hub: &Hub) {
    let channel = data["channel"].as_str().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-=@,.;".contains(c);
    let is_name = channel.starts_with("private-") && channel.chars().all(fits);
    if !is_name || !is_signed(client, channel, data["auth"].as_str().unwrap_or_default(), hub) {
        let why = json!({"type": "AuthError", "error": "bad signature", "status": 401});
        let error = json!({"event": "pusher:subscription_error", "channel": channel, "data": why});
        return client.line.say(error.to_string());
    }
    hub.join(channel, client);
    let event = "pusher_internal:subscription_succeeded";
    client.line.say(json!({"event": event, "channel": channel, "data": "{}"}).to_string());
}

fn is_signed(client: &Client, channel: &str, auth: &str, hub: &Hub) -> bool {
    let Some(signature) = auth.strip_prefix("app-key:") else { return false };
    let byte = |at: usize| u8::from_str_radix(signature.get(at..at + 2)?, 16).ok();
    let tag: Option<Vec<u8>> = (0..signature.len()).step_by(2).map(byte).collect();
    let secret = hub.manners.token.unwrap_or_default().as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signed = format!("{}:{channel}", socket_id(client));
    tag.is_some_and(|tag| hmac::verify(&key, signed.as_bytes(), &tag).is_ok())
}

fn pass_on(client: &mut Client, said: &Value, hub: &Hub) -> Result<(), String> {
    let channel = said["channel"].as_str().unwrap_or_default();
    if !hub.has_joined(channel, client) || !said["data"].is_string() {
        return Err(format!("publishes {said}"));
    }
    let (is_passed_on, is_pinged) = hub.count(client);
    if is_pinged {
        hub.deliver(channel, client.line.id, &[Message::text(PING)]);
    }
    if is_passed_on {
        let label = hub.label(client, channel);
        let event = json!({"event": said["event"], "channel": label, "data": said["data"]});
        hub.deliver(channel, client.line.id, &[Message::text(event.to_string())]);
    }
    Ok(())
}

const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;
