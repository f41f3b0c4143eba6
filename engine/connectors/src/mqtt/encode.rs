//! Packets as this client sends them. Must not know when.

use bytes::{BufMut, BytesMut};

use crate::mqtt::octets::{put_field, put_varint, varint_bytes};
use crate::mqtt::properties::{
    self, PACKET_BYTES_MAX, PAYLOAD_IS_TEXT, RECEIVE_MAX, SESSION_EXPIRY,
};
use crate::mqtt::settings::Version;

/// Who asks for a connection, and for what.
#[derive(Clone, Copy)]
pub struct Connect<'a> {
    pub version: Version,
    pub client_id: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub keep_alive_s: u16,
    /// How long the broker keeps the session while nobody is connected.
    pub session_expiry_s: u32,
    /// Messages with QoS 1 that may be on their way to us.
    pub receive_max: u16,
    pub packet_bytes_max: u32,
}

/// A filter of a subscription.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    pub filter: &'a str,
    pub qos: u8,
    /// What this connection publishes does not come back by it (MQTT 5).
    pub no_local: bool,
    /// What is retained comes even if the broker remembers the subscription (MQTT 5).
    pub wants_retained: bool,
}

/// A message on its way out.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    pub topic: &'a str,
    /// Its number at QoS 1; none at QoS 0.
    pub id: Option<u16>,
    /// It was sent before.
    pub is_again: bool,
    pub retain: bool,
    pub is_text: bool,
    pub payload: &'a [u8],
}

const SUBSCRIBE: u8 = 0x82;
const NO_LOCAL: u8 = 1 << 2;
/// Retained messages come only with a subscription that is new.
const RETAINED_IF_NEW: u8 = 1 << 4;

pub fn connect(out: &mut BytesMut, connect: &Connect<'_>) {
    let mut body = BytesMut::new();
    put_field(&mut body, b"MQTT");
    body.put_u8(if connect.version == Version::V5 { 5 } else { 4 });
    body.put_u8(u8::from(connect.user.is_some()) << 7 | u8::from(connect.password.is_some()) << 6);
    body.put_u16(connect.keep_alive_s);
    if connect.version == Version::V5 {
        properties::put(&mut body, |out| put_limits(out, connect));
    }
    put_field(&mut body, connect.client_id.as_bytes());
    let credentials = [connect.user.map(str::as_bytes), connect.password];
    credentials.into_iter().flatten().for_each(|value| put_field(&mut body, value));
    put_packet(out, 0x10, &body);
}

fn put_limits(out: &mut BytesMut, connect: &Connect<'_>) {
    out.put_u8(SESSION_EXPIRY);
    out.put_u32(connect.session_expiry_s);
    out.put_u8(RECEIVE_MAX);
    out.put_u16(connect.receive_max);
    out.put_u8(PACKET_BYTES_MAX);
    out.put_u32(connect.packet_bytes_max);
}

pub fn subscribe(out: &mut BytesMut, version: Version, id: u16, filters: &[Filter<'_>]) {
    let mut body = BytesMut::new();
    body.put_u16(id);
    if version == Version::V5 {
        properties::put(&mut body, |_| {});
    }
    for filter in filters {
        put_field(&mut body, filter.filter.as_bytes());
        body.put_u8(options(version, filter));
    }
    put_packet(out, SUBSCRIBE, &body);
}

fn options(version: Version, filter: &Filter<'_>) -> u8 {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let retained = flag(!filter.wants_retained, RETAINED_IF_NEW);
    match version {
        Version::V311 => filter.qos,
        Version::V5 => filter.qos | flag(filter.no_local, NO_LOCAL) | retained,
    }
}

pub fn publish(out: &mut BytesMut, version: Version, publish: &Publish<'_>) {
    let (head, rest) = publish_sizes(version, publish);
    out.reserve(head + rest);
    let qos = u8::from(publish.id.is_some()) << 1;
    out.put_u8(0x30 | u8::from(publish.is_again) << 3 | qos | u8::from(publish.retain));
    put_varint(out, u32::try_from(rest).unwrap_or(u32::MAX));
    put_field(out, publish.topic.as_bytes());
    if let Some(id) = publish.id {
        out.put_u16(id);
    }
    match version {
        Version::V311 => {}
        Version::V5 if publish.is_text => out.put_slice(&[2, PAYLOAD_IS_TEXT, 1]),
        Version::V5 => out.put_u8(0),
    }
    out.put_slice(publish.payload);
}

/// How many bytes [`publish`] appends.
pub fn publish_bytes(version: Version, publish: &Publish<'_>) -> usize {
    let (head, rest) = publish_sizes(version, publish);
    head + rest
}

/// Bytes of the fixed header, and of what follows it.
fn publish_sizes(version: Version, publish: &Publish<'_>) -> (usize, usize) {
    let properties = match version {
        Version::V311 => 0,
        Version::V5 if publish.is_text => 3,
        Version::V5 => 1,
    };
    let id = if publish.id.is_some() { 2 } else { 0 };
    let rest = 2 + publish.topic.len() + id + properties + publish.payload.len();
    (1 + varint_bytes(u32::try_from(rest).unwrap_or(u32::MAX)), rest)
}

/// A message was taken.
pub fn acknowledge(out: &mut BytesMut, id: u16) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(id);
}

pub fn ping(out: &mut BytesMut) {
    out.put_slice(&[0xc0, 0]);
}

fn put_packet(out: &mut BytesMut, first: u8, body: &[u8]) {
    out.put_u8(first);
    put_varint(out, u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::decode;
    use proptest::prelude::*;

    const CONNECT: Connect<'_> = Connect {
        version: Version::V311,
        client_id: "c",
        user: Some("u"),
        password: Some(b"p"),
        keep_alive_s: 30,
        session_expiry_s: 60,
        receive_max: 9,
        packet_bytes_max: 1000,
    };

    fn bytes(put: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out);
        out.to_vec()
    }

    /// Byte for byte as sections 3.1 of the two versions have it.
    #[test]
    fn a_connection_is_asked_for_with_a_session_that_stays() {
        let name = b"\0\x04MQTT";
        let credentials = b"\0\x01c\0\x01u\0\x01p";
        let old = [&[0x10, 19][..], name, &[4, 0xc0, 0, 30], credentials].concat();
        assert_eq!(bytes(|out| connect(out, &CONNECT)), old);
        let limits = [13, 0x11, 0, 0, 0, 60, 0x21, 0, 9, 0x27, 0, 0, 3, 0xe8];
        let new = [&[0x10, 33][..], name, &[5, 0xc0, 0, 30], &limits, credentials].concat();
        let connect_5 = Connect { version: Version::V5, ..CONNECT };
        assert_eq!(bytes(|out| connect(out, &connect_5)), new);
    }

    #[test]
    fn a_subscription_has_the_options_of_its_version() {
        let filters = [Filter { filter: "a/#", qos: 1, no_local: true, wants_retained: false }];
        assert_eq!(
            bytes(|out| subscribe(out, Version::V311, 7, &filters)),
            b"\x82\x08\0\x07\0\x03a/#\x01"
        );
        assert_eq!(
            bytes(|out| subscribe(out, Version::V5, 7, &filters)),
            b"\x82\x09\0\x07\0\0\x03a/#\x15"
        );
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(
            topic in "[a-z/]{1,20}",
            id in prop::option::of(1_u16..),
            flags in any::<(bool, bool, bool)>(),
            payload in prop::collection::vec(any::<u8>(), 0..300),
            is_new in any::<bool>(),
        ) {
            let version = if is_new { Version::V5 } else { Version::V311 };
            let (is_again, retain, is_text) = flags;
            let sent = Publish { topic: &topic, id, is_again, retain, is_text, payload: &payload };
            let written = bytes(|out| publish(out, version, &sent));
            prop_assert_eq!(written.len(), publish_bytes(version, &sent));
            prop_assert_eq!(decode::length(&written, usize::MAX), Ok(Some(written.len())));
            let is_text = is_text && is_new;
            let read = decode::Publish { topic: &topic, id, is_text, payload: &payload };
            prop_assert_eq!(decode::packet(&written, version), Ok(decode::Packet::Publish(read)));
        }
    }
}
