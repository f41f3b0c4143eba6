//! The self-test as a user runs it, in its short form: every row within its bound, and the floor
//! left where the next report finds it.
#![allow(clippy::unwrap_used, reason = "a self-test that cannot run fails its test")]

use std::process::Command;

use serde_json::Value;

#[test]
fn the_instrument_proves_itself() {
    let home = tempfile::tempdir().unwrap();
    let json = home.path().join("rows.json");
    let mut selftest = Command::new(env!("CARGO_BIN_EXE_gridload"));
    selftest.args(["selftest", "--short", "--json"]).arg(&json);
    let output = selftest.env("XDG_STATE_HOME", home.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let numbers: Vec<_> =
        found["rows"].as_array().unwrap().iter().map(|row| &row["number"]).collect();
    assert!((1..=14).all(|number| numbers.contains(&&Value::from(number))), "{told}");
    let verdicts = || found["rows"].as_array().unwrap().iter().map(|row| &row["verdict"]);
    assert!(verdicts().all(|verdict| verdict != "wrong"), "{told}");
    if verdicts().any(|verdict| verdict == "spoiled") {
        // A host that is too busy to prove anything does not prove the instrument wrong either.
        assert_eq!(output.status.code(), Some(5), "{told}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let left = std::fs::read_to_string(home.path().join("gridload/floor.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), found["floor"]);
}
