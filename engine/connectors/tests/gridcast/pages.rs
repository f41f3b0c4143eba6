//! The configurations of docs/bridges/gridcast.md: each runs as it stands there, with addresses and
//! files exchanged.

use std::path::Path;

use gridcast::frame::Kind;

use crate::site::Site;

/// The blocks of TOML in a page.
fn blocks(page: &str) -> Vec<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&root).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let blocks = text.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_bridge_of_the_page_sends_and_follows() {
    let blocks = blocks("bridges/gridcast.md");
    assert_eq!(blocks.len(), 1, "a test for each");
    let mut far = Site::start("");
    let directory = tempfile::TempDir::new().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "of-the-edge").unwrap();
    let mut file = blocks[0].clone();
    for (shown, real) in [
        ("wss://centre.example:9443", format!("ws://{}", far.address())),
        ("/etc/gridcast/centre.token", token.display().to_string()),
    ] {
        assert!(file.contains(shown), "{shown}");
        file = file.replace(shown, &real);
    }
    let mut near = Site::start(&file);
    near.wait_connected("centre", 1);
    let (mut out, mut commands) = (far.follow("edge/#"), near.follow("commands/#"));
    near.publish("pmu/1", Kind::Text, b"1");
    near.publish("aggregate/pmu/1", Kind::Text, b"2");
    let mut topics = [out.next().topic, out.next().topic];
    topics.sort();
    assert_eq!(topics, ["edge/7/aggregate/pmu/1", "edge/7/pmu/1"]);
    far.publish("commands/all", Kind::Text, b"stop");
    assert_eq!(commands.next().text(), "stop");
}
