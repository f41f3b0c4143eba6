//! An application of Socket.IO: `subscribe` joins a room and is acknowledged, `publish` emits to a
//! room under its name. What is JSON is parsed and written again, as it is there.

use serde_json::{Value, json};
use tungstenite::Message;

use super::{Client, Hub, Protocol};

pub struct SocketIo;

impl Protocol for SocketIo {
    fn welcome(&self, client: &mut Client, hub: &Hub) {
        if client.path != "/socket.io/?EIO=4&transport=websocket" {
            hub.complaints.lock().unwrap().push(format!("asks for {}", client.path));
        }
        let (interval_ms, timeout_ms) =
            if hub.manners.is_silent { (600, 400) } else { (25_000, 20_000) };
        let opening = json!({
            "sid": format!("engine-{}", client.line.id),
            "upgrades": [],
            "pingInterval": interval_ms,
            "pingTimeout": timeout_ms,
            "maxPayload": 1_000_000,
        });
        client.line.say(format!("0{opening}"));
    }

    fn hear(&self, client: &mut Client, message: Message, hub: &Hub) -> Result<(), String> {
        if message.is_binary() {
            return attachment(client, message, hub);
        }
        let Message::Text(text) = message else { return Err(format!("sends {message:?}")) };
        match text.as_str().split_at_checked(2) {
            None if text.as_str() == "3" => hub.ponged(),
            Some(("40", auth)) => enter(client, auth, hub),
            Some(("42", rest)) if client.is_in => return event(client, rest, hub),
            Some(("45", rest)) if client.is_in => return announcement(client, rest),
            _ => return Err(format!("says {text}")),
        }
        Ok(())
    }
}

fn enter(client: &mut Client, auth: &str, hub: &Hub) {
    let auth: Value = serde_json::from_str(auth).unwrap_or(Value::Null);
    if hub.manners.token.is_some_and(|token| auth["token"] != token) {
        return client.line.say(r#"44{"message":"who are you?"}"#);
    }
    client.is_in = true;
    client.line.say(format!(r#"40{{"sid":"socket-{}"}}"#, client.line.id));
}

fn event(client: &mut Client, rest: &str, hub: &Hub) -> Result<(), String> {
    let (id, arguments) = rest.split_at(rest.find('[').ok_or("an event of nothing")?);
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| error.to_string())?;
    let topic = arguments[1].as_str().ok_or("no topic")?;
    match (arguments[0].as_str(), arguments.get(2)) {
        (Some("subscribe"), None) => {
            hub.join(topic, client);
            if !id.is_empty() {
                client.line.say(format!(r#"43{id}["joined"]"#));
            }
        }
        (Some("publish"), Some(payload)) => {
            pass_on(client, topic, &[Message::text(format!("42{}", json!([topic, payload])))], hub);
        }
        _ => return Err(format!("emits {arguments}")),
    }
    Ok(())
}

fn announcement(client: &mut Client, rest: &str) -> Result<(), String> {
    let arguments = rest.strip_prefix("1-").ok_or("more or less than one attachment")?;
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| error.to_string())?;
    let placeholder = json!({"_placeholder": true, "num": 0});
    if arguments[0] != "publish" || arguments[2] != placeholder || client.noted.is_some() {
        return Err(format!("announces {arguments}"));
    }
    client.noted = Some(arguments[1].as_str().ok_or("no topic")?.to_owned());
    Ok(())
}

fn attachment(client: &mut Client, payload: Message, hub: &Hub) -> Result<(), String> {
    let topic = client.noted.take().ok_or("an attachment of nothing")?;
    let announced = json!([topic, {"_placeholder": true, "num": 0}]);
    pass_on(client, &topic, &[Message::text(format!("451-{announced}")), payload], hub);
    Ok(())
}

fn pass_on(client: &mut Client, topic: &str, messages: &[Message], hub: &Hub) {
    let (is_passed_on, is_pinged) = hub.count(client);
    if is_pinged {
        hub.deliver(topic, client.line.id, &[Message::text("2")]);
        client.line.say("2");
    }
    if is_passed_on {
        let label = hub.label(client, topic);
        let labelled = messages.iter().map(|message| match message {
            Message::Text(text) => Message::text(text.replace(topic, &label)),
            binary => binary.clone(),
        });
        hub.deliver(topic, client.line.id, &labelled.collect::<Vec<_>>());
    }
}
