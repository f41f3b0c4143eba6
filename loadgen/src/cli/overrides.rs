//! Resolves a scenario name and the flags of the command line to the scenario to run. Must not know
//! what a scenario costs.

use std::fs;
use std::path::Path;

use thiserror::Error;
use toml::{Table, Value};

use crate::cli::options::{RunOptions, Setting};
use crate::codec::dialect::options::UnsupportedOption;
use crate::codec::form::Form;
use crate::plan::check;
use crate::plan::fleet::bytes_per_socket_per_s;
use crate::scenario::builtin;
use crate::scenario::groups::{ClassKind, SubscriberGroup};
use crate::scenario::scenario::Scenario;
use crate::scenario::section::{ScenarioError, nearest};

/// Why there is no scenario to run.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The name is neither a built-in scenario nor a file.
    #[error(
        "there is no scenario `{name}`{hint}; `gridload scenarios` lists them, \
         and a path to a TOML file will do"
    )]
    Unknown {
        /// The name as written.
        name: String,
        /// The most similar valid name, as text.
        hint: String,
    },
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// Its path.
        path: String,
        /// The reason.
        cause: std::io::Error,
    },
    /// The file is invalid, or the flags made it invalid.
    #[error("{origin}: {cause}")]
    Wrong {
        /// The scenario's name or path.
        origin: String,
        /// The error.
        cause: ScenarioError,
    },
    /// The path of a `--set` does not exist.
    #[error("--set {path}: {reason}")]
    Setting {
        /// The keys as written.
        path: String,
        /// The reason.
        reason: String,
    },
}

/// Finds a scenario and applies the flags: first every `--set`, then the named flags.
pub fn resolve(name: &str, options: &RunOptions) -> Result<Scenario, ResolveError> {
    resolve_text(name, &find(name)?, options, |_| ())
}

/// Applies the flags to the text of a scenario with this name. After every `--set` and before the
/// named flags, `complete` adds what cannot be written as text.
///
/// # Errors
/// When the text is invalid, or the flags make it invalid.
pub fn resolve_text(
    name: &str,
    text: &str,
    options: &RunOptions,
    complete: impl FnOnce(&mut Scenario),
) -> Result<Scenario, ResolveError> {
    let wrong = |cause| ResolveError::Wrong { origin: name.to_owned(), cause };
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        wrong(ScenarioError::Syntax(error.to_string().trim_end().to_owned()))
    })?;
    options.set.iter().try_for_each(|setting| apply_setting(&mut table, setting))?;
    let mut scenario = Scenario::from_table(&table).map_err(wrong)?;
    check::check(&scenario).map_err(wrong)?;
    complete(&mut scenario);
    let written = scenario.clone();
    apply_flags(&mut scenario, options);
    let overlays = &mut scenario.overlays;
    options.overlay.iter().try_for_each(|flag| flag.apply(overlays)).map_err(wrong)?;
    apply_dialect(&mut scenario, options).map_err(wrong)?;
    check::check(&scenario).map_err(wrong)?;
    let same_groups =
        scenario.publishers == written.publishers && scenario.subscribers == written.subscribers;
    let same_overlays = scenario.overlays == written.overlays;
    let as_described = same_groups && same_overlays && options.set.is_empty();
    if !as_described && !scenario.about.ends_with(CHANGED) {
        scenario.about.push_str(CHANGED);
    }
    Ok(scenario)
}

/// Added to the description of a scenario, because flags may have changed the described load.
const CHANGED: &str = " (changed by flags)";

fn find(name: &str) -> Result<String, ResolveError> {
    if let Some(builtin) = builtin::find(name) {
        return Ok(builtin.text.to_owned());
    }
    if name.contains('/') || name.ends_with(".toml") || Path::new(name).is_file() {
        return fs::read_to_string(name)
            .map_err(|cause| ResolveError::Unreadable { path: name.to_owned(), cause });
    }
    let near = nearest(name, builtin::ALL.iter().map(|builtin| builtin.name));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(ResolveError::Unknown { name: name.to_owned(), hint })
}

fn apply_setting(table: &mut Table, setting: &Setting) -> Result<(), ResolveError> {
    let wrong = |reason| ResolveError::Setting { path: setting.path.join("."), reason };
    let Some((last, parents)) = setting.path.split_last() else {
        return Err(wrong("a key is missing".to_owned()));
    };
    let mut place = table;
    let mut keys = parents.iter();
    while let Some(key) = keys.next() {
        let value = place.entry(key).or_insert_with(|| Value::Table(Table::new()));
        place = match value {
            Value::Table(table) => table,
            Value::Array(list) => {
                let member = keys.next();
                let member = member.ok_or_else(|| wrong(format!("`{key}` is a list")))?;
                list_member(list, member).map_err(wrong)?
            }
            _ => return Err(wrong(format!("`{key}` is a value and has no keys"))),
        };
    }
    place.insert(last.clone(), setting.value.clone());
    Ok(())
}

fn list_member<'l>(list: &'l mut [Value], member: &str) -> Result<&'l mut Table, String> {
    let name_of = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<_> = list.iter().filter_map(name_of).collect();
    let count = list.len();
    let position = list.iter().position(|value| name_of(value).as_deref() == Some(member));
    let index = position.or_else(|| member.parse().ok());
    let found = index.and_then(|index| list.get_mut(index)).and_then(Value::as_table_mut);
    found.ok_or_else(|| {
        format!("no member `{member}`; there are {count}, called {}", names.join(", "))
    })
}

fn apply_flags(scenario: &mut Scenario, options: &RunOptions) {
    apply_fleet_flags(scenario, options);
    if let Some(count) = options.subscribers {
        let healthy = scenario.subscribers.iter_mut().filter(|g| g.class == ClassKind::Healthy);
        share_out(count, healthy.map(|group| &mut group.count).collect());
    }
    if let Some(count) = options.stalled {
        set_class(scenario, "stalled", ClassKind::Stalled, count);
    }
    if let Some(count) = options.slow {
        let sent_per_s =
            scenario.subscribers.first().map_or(0, |group| bytes_per_socket_per_s(scenario, group));
        let bytes_per_s = (sent_per_s / 2).max(1);
        set_class(scenario, "slow", ClassKind::Slow { bytes_per_s }, count);
    }
    apply_form_flags(scenario, options);
    // A small total may leave nothing for a small group.
    scenario.subscribers.retain(|group| group.count > 0);
    scenario.publishers.retain(|group| group.count > 0);
    let phases = &mut scenario.phases;
    phases.measure = options.duration.unwrap_or(phases.measure);
    phases.repeat = options.repeat.unwrap_or(phases.repeat);
    phases.warmup = options.warmup.unwrap_or(phases.warmup);
    phases.drain = options.drain.unwrap_or(phases.drain);
    scenario.profile = options.profile.or(scenario.profile);
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    if let Some(url) = &options.target {
        scenario.target.authority = Some(url.authority.clone());
        scenario.target.tls = url.tls;
    }
    if !options.subscriber_node.is_empty() {
        scenario.target.subscriber_nodes.clone_from(&options.subscriber_node);
    }
    scenario.target.tls |= options.tls;
    if !options.source_ip.is_empty() {
        scenario.target.source_ips.clone_from(&options.source_ip);
    }
}

/// The dialect with its options, checked against the use of a token.
fn apply_dialect(scenario: &mut Scenario, options: &RunOptions) -> Result<(), ScenarioError> {
    if let Some(dialect) = &options.dialect {
        let dialect = dialect.clone().with(&options.dialect_options).map_err(
            |UnsupportedOption { key, reason }| {
                ScenarioError::Contradiction(format!("--{}: {reason}", key.replace('_', "-")))
            },
        )?;
        scenario.set_dialect(dialect);
    }
    let checked = scenario.target.dialect.check_token(options.token.as_deref());
    checked.map_err(ScenarioError::Contradiction)
}

fn apply_fleet_flags(scenario: &mut Scenario, options: &RunOptions) {
    if let Some(count) = options.publishers {
        share_out(count, scenario.publishers.iter_mut().map(|group| &mut group.count).collect());
    }
    for group in &mut scenario.publishers {
        group.rate = options.rate.unwrap_or(group.rate);
        group.phase = options.phase.unwrap_or(group.phase);
        group.payload = options.payload.unwrap_or(group.payload);
    }
}

fn apply_form_flags(scenario: &mut Scenario, options: &RunOptions) {
    for group in &mut scenario.subscribers {
        group.ramp_per_s = options.connect_rate.unwrap_or(group.ramp_per_s);
        group.form = options.form.unwrap_or(group.form);
        group.pace.rate = options.subscriber_rate.or(group.pace.rate);
        let may_deflate = !matches!(group.form, Form::Sse | Form::Poll);
        group.deflate = (group.deflate || options.deflate) && may_deflate;
    }
}

/// Divides a total in proportion to the present counts; rounding errors are carried over.
fn share_out(total: u32, counts: Vec<&mut u32>) {
    let whole: u64 = counts.iter().map(|count| u64::from(**count)).sum();
    let (mut before, mut given) = (0u64, 0u64);
    for count in counts {
        before += u64::from(*count);
        let due = before * u64::from(total) / whole.max(1);
        *count = (due - given) as u32;
        given = due;
    }
}

/// Makes the groups of a kind hold `count` dashboards in all, adding a group like the first one if
/// needed.
fn set_class(scenario: &mut Scenario, name: &str, kind: ClassKind, count: u32) {
    let is_kind = |group: &&mut SubscriberGroup| group.class.name() == kind.name();
    let existing: Vec<_> = scenario.subscribers.iter_mut().filter(is_kind).collect();
    match (existing.is_empty(), scenario.subscribers.first().cloned()) {
        (true, Some(first)) if count > 0 => {
            let group = SubscriberGroup { name: name.to_owned(), class: kind, count, ..first };
            scenario.subscribers.push(group);
        }
        (true, _) => {}
        (false, _) => {
            let groups = scenario.subscribers.iter_mut().filter(is_kind);
            share_out(count, groups.map(|group| &mut group.count).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec::dialect::dialect::Dialect;
    use crate::scenario::groups::TopicsEach;
    use crate::scenario::overlay::Overlay;
    use crate::scenario::target::parse_target_url;

    fn resolved(name: &str, change: impl FnOnce(&mut RunOptions)) -> Result<Scenario, String> {
        let mut options = RunOptions::default();
        change(&mut options);
        resolve(name, &options).map_err(|error| error.to_string())
    }

    fn set(settings: &[&str]) -> impl FnOnce(&mut RunOptions) {
        let settings = settings.iter().map(|text| text.parse().unwrap()).collect();
        move |options| options.set = settings
    }

    #[test]
    fn an_unknown_scenario_is_answered_with_the_nearest() {
        let error = resolved("quikstart", |_| {}).unwrap_err();
        assert!(error.starts_with("there is no scenario `quikstart`; did you mean `quickstart`?"));
        assert!(!resolved("zzz", |_| {}).unwrap_err().contains("did you mean"));
        assert!(resolved("./none.toml", |_| {}).unwrap_err().starts_with("./none.toml: "));
    }

    #[test]
    fn flags_override_the_scenario() {
        let scenario = resolved("quickstart", |options| {
            options.subscribers = Some(11);
            options.publishers = Some(3);
            options.rate = Some("50".parse().unwrap());
            options.duration = Some(Duration::from_secs(1));
            options.seed = Some(9);
            options.target = parse_target_url("wss://10.0.0.5:9400").ok();
            options.form = Some(Form::Bin);
            options.subscriber_rate = Some(4);
            options.deflate = true;
            options.connect_rate = Some(5);
        })
        .unwrap();
        assert_eq!((scenario.subscriber_sockets(), scenario.publisher_count()), (11, 3));
        assert_eq!(scenario.publishers[0].rate.per_second(), 50.0);
        assert_eq!((scenario.phases.measure, scenario.seed), (Duration::from_secs(1), 9));
        assert_eq!(scenario.target.authority.as_deref(), Some("10.0.0.5:9400"));
        assert!(scenario.target.tls && scenario.subscribers[0].deflate);
        let group = &scenario.subscribers[0];
        assert_eq!((group.ramp_per_s, group.form, group.pace.rate), (5, Form::Bin, Some(4)));
        assert!(scenario.about.ends_with("under a minute (changed by flags)"));
        let other_length =
            |options: &mut RunOptions| options.duration = Some(Duration::from_secs(1));
        assert!(!resolved("quickstart", other_length).unwrap().about.contains("flags"));
    }

    #[test]
    fn a_profile_and_repeats_are_laid_over_a_scenario_but_not_both() {
        let profile = "4 steps of subscribers".parse().ok();
        let scenario = resolved("quickstart", |options| options.profile = profile).unwrap();
        assert_eq!(scenario.profile, profile);
        let scenario = resolved("quickstart", |options| options.repeat = Some(3)).unwrap();
        assert_eq!(scenario.phases.measured(), 3 * scenario.phases.measure);
        let both = |options: &mut RunOptions| {
            (options.profile, options.repeat) = (profile, Some(3));
        };
        let error = resolved("quickstart", both).unwrap_err();
        assert!(error.contains("leave out either `profile` or `repeat`"), "{error}");
    }

    #[test]
    fn overlays_are_added_with_their_defaults_or_as_the_scenario_has_them() {
        let laid = |texts: &[&str]| {
            let flags = texts.iter().map(|text| text.parse().unwrap()).collect();
            resolved("quickstart", |options| options.overlay = flags)
        };
        let scenario = laid(&["gps-loss", "leap-second:second=skips:at=2s"]).unwrap();
        let texts: Vec<_> = scenario.overlays.iter().map(Overlay::to_string).collect();
        let drift = "gps-loss:drift_per_min=1ms:share_percent=10.0";
        assert_eq!(texts, [drift, "leap-second:at=2s:second=skips"]);
        assert!(scenario.about.ends_with("(changed by flags)"));
        assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
        let late = laid(&["leap-second:at=1h"]).unwrap_err();
        assert!(late.contains("comes after the measured phase"), "{late}");
    }

    #[test]
    fn a_dialect_takes_its_own_flags_and_refuses_those_of_others() {
        let spoken = |word: &str, change: fn(&mut RunOptions)| {
            resolved("quickstart", |options| {
                options.target = parse_target_url("ws://127.0.0.1:1").ok();
                options.dialect = Dialect::named(word).ok();
                change(options);
            })
        };
        let path = |options: &mut RunOptions| options.dialect_options.path = Some("/x".into());
        let scenario = spoken("centrifugo", path).unwrap();
        assert_eq!(scenario.target.dialect, Dialect::Centrifugo { path: "/x".into() });
        assert_eq!(scenario.subscribers[0].form, Form::Centrifugo);
        assert!(spoken("nats", path).unwrap_err().contains("--path: only the dialects `socketio`"));
        let acks = |options: &mut RunOptions| options.dialect_options.subscribe_acks = Some(true);
        assert!(spoken("raw", acks).unwrap_err().contains("--subscribe-acks: only the dialect"));
        assert!(spoken("pusher", |_| ()).unwrap_err().contains("give it as --token"));
        let token = |options: &mut RunOptions| options.token = Some("t".into());
        assert!(spoken("mqtt", token).unwrap_err().contains("leave --token out"));
        assert!(spoken("pusher", token).is_ok());
    }

    #[test]
    fn totals_are_shared_out_in_proportion() {
        let scenario =
            resolved("control-room-mixed", |options| options.subscribers = Some(11)).unwrap();
        let counts: Vec<_> = scenario.subscribers.iter().map(|group| group.count).collect();
        assert_eq!(counts, [9, 2]);
        let scenario =
            resolved("control-room-mixed", |options| options.subscribers = Some(1)).unwrap();
        assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
    }

    #[test]
    fn slow_and_stalled_dashboards_are_added_beside_the_healthy() {
        let scenario = resolved("quickstart", |options| {
            (options.stalled, options.slow) = (Some(3), Some(2));
        })
        .unwrap();
        let kinds: Vec<_> =
            scenario.subscribers.iter().map(|g| (g.name.as_str(), g.class, g.count)).collect();
        // 30 frames of 94 bytes a second, halved.
        let slow = ClassKind::Slow { bytes_per_s: 1410 };
        assert_eq!(
            kinds,
            [
                ("dashboard", ClassKind::Healthy, 2000),
                ("stalled", ClassKind::Stalled, 3),
                ("slow", slow, 2)
            ]
        );
    }

    #[test]
    fn settings_reach_any_value() {
        let scenario = resolved(
            "control-room-mixed",
            set(&[
                "publishers.0.count=5",
                "subscribers.dashboard.topics_each=5",
                "subscribers.wall.ramp=7/s",
                "phases.measure=2s",
                "slo.e2e_p99=20ms",
            ]),
        )
        .unwrap();
        assert_eq!(scenario.publisher_count(), 5);
        assert_eq!(scenario.subscribers[0].topics, TopicsEach::Count(5));
        assert_eq!(scenario.subscribers[1].ramp_per_s, 7);
        assert_eq!(scenario.phases.measure, Duration::from_secs(2));
        assert_eq!(scenario.slo.e2e_p99, Some(Duration::from_millis(20)));
    }

    #[test]
    fn settings_that_lead_nowhere_say_why() {
        for (setting, message) in [
            ("sed=1", "unknown key `sed` in the scenario; did you mean `seed`?"),
            ("publishers.7.count=1", "no member `7`; there are 1, called pmu30"),
            ("publishers=1", "must be a list of tables"),
            ("name.x=1", "--set name.x: `name` is a value and has no keys"),
        ] {
            let error = resolved("quickstart", set(&[setting])).unwrap_err();
            assert!(error.contains(message), "{setting}: {error}");
        }
    }

    #[test]
    fn what_the_flags_make_must_still_hold_together() {
        let error =
            resolved("control-room-mixed", |options| options.publishers = Some(3)).unwrap_err();
        assert!(
            error.contains("follow 20 topics each, but there are only 3 publishers"),
            "{error}"
        );
    }
}
