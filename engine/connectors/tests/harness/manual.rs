//! The configurations of the pages in `docs/bridges/`. Owns how they are found. Must not know
//! kinds.

use std::fs;
use std::path::Path;

/// The blocks of TOML on a page that have a bridge.
pub fn configurations(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bridges").join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let bridges: Vec<String> =
        blocks.filter(|block| block.contains("[[bridge]]")).map(str::to_owned).collect();
    assert!(!bridges.is_empty(), "{page} has no configuration");
    bridges
}
