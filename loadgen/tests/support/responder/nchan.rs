//! Channels by the `id` of a request, several with commas, and messages passed on as they are.

use tungstenite::Message;

use super::{Client, Hub, Protocol};

pub struct Nchan;

impl Protocol for Nchan {
    fn welcome(&self, client: &mut Client, hub: &Hub) {
        if let Some(channels) = client.path.strip_prefix("/sub?id=") {
            channels.split(',').for_each(|channel| hub.join(channel, client));
        }
    }

    fn hear(&self, client: &mut Client, message: Message, hub: &Hub) -> Result<(), String> {
        let channel = client.path.strip_prefix("/pub?id=").map(str::to_owned);
        let channel = channel.ok_or(format!("{} publishes", client.path))?;
        let (is_passed_on, _) = hub.count(client);
        if is_passed_on {
            hub.deliver(&channel, client.line.id, &[message]);
        }
        Ok(())
    }
}
