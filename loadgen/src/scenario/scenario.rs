//! A scenario: who publishes what to whom, for how long, and the goals. Parsed from TOML into types
//! that cannot hold an invalid value, and written back as TOML that gives the same scenario. Must
//! not know the host, the command line or any single socket.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use toml::Table;

use crate::codec::dialect::dialect::Dialect;
use crate::codec::form::Form;
use crate::scenario::groups;
use crate::scenario::groups::{SubscriberGroup, TopicsEach};
use crate::scenario::kill::{KillPlan, kill, write_kill};
use crate::scenario::limits::{MEASURE_MIN, PUBLISHERS_MAX, REPEAT, check_phase};
use crate::scenario::overlay::Overlay;
use crate::scenario::profile::Profile;
use crate::scenario::publishers::{PUBLISHER_KEYS, PublisherGroup, publisher_group};
use crate::scenario::section::{ScenarioError, Section, quoted};
use crate::scenario::slo::Slo;
use crate::scenario::target::Target;
use crate::time::units;

/// A load and its goals.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The name of the result directory.
    pub name: String,
    /// One line: the real load that this one stands for.
    pub about: String,
    /// The seed of all random choices.
    pub seed: u64,
    /// The address of the server.
    pub target: Target,
    /// The publishers.
    pub publishers: Vec<PublisherGroup>,
    /// The subscribers; each group is a class of its own in the results.
    pub subscribers: Vec<SubscriberGroup>,
    /// Disturbances added to the load.
    pub overlays: Vec<Overlay>,
    /// Sockets that are reset in the measured phase.
    pub kill: Option<KillPlan>,
    /// How the load grows in the measured phase, if it does.
    pub profile: Option<Profile>,
    /// How long each part of the run takes.
    pub phases: Phases,
    /// The goals of a good run.
    pub slo: Slo,
    /// The limit of publish lateness at p99.9 for a valid run, in percent of a period; `None` for
    /// the usual limit.
    pub slip_percent: Option<f64>,
}

/// How long each part of the run takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phases {
    /// Published and verified, but excluded from the histograms.
    pub warmup: Duration,
    /// The length of one measurement.
    pub measure: Duration,
    /// How many measurements in a row; each has its own results.
    pub repeat: u16,
    /// The longest wait for frames still in transit.
    pub drain: Duration,
}

pub(crate) const ROOT_KEYS: &[&str] = &[
    "name",
    "about",
    "seed",
    "target",
    "clock",
    "publishers",
    "subscribers",
    "overlays",
    "faults",
    "profile",
    "phases",
    "slo",
    "health",
];
pub(crate) const PHASE_KEYS: &[&str] = &["warmup", "measure", "repeat", "drain"];
pub(crate) const HEALTH_KEYS: &[&str] = &["slip_percent"];
pub(crate) const CLOCK_KEYS: &[&str] = &["mode"];

impl Scenario {
    /// Reads a scenario file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let table = text.parse().map_err(|error: toml::de::Error| {
            ScenarioError::Syntax(error.to_string().trim_end().to_owned())
        })?;
        Self::from_table(&table)
    }

    /// Reads a scenario from parsed TOML.
    pub fn from_table(table: &Table) -> Result<Self, ScenarioError> {
        let root = Section::new("the scenario", table, ROOT_KEYS)?;
        check_clock(&root)?;
        let publishers = parse_each(root.tables("publishers", PUBLISHER_KEYS)?, publisher_group)?;
        let subscribers =
            parse_each(root.tables("subscribers", groups::KEYS)?, SubscriberGroup::of)?;
        let mut scenario = Scenario {
            name: root.required("name", "name = \"my-load\"", root.name()?)?,
            about: root.text("about")?.unwrap_or_default().to_owned(),
            seed: root.integer("seed", 0..=i64::MAX as u64)?.unwrap_or(1),
            target: Target::of(&root)?,
            publishers,
            subscribers,
            overlays: Overlay::all_of(&root)?,
            kill: kill(&root)?,
            profile: root.parsed("profile", Profile::from_str)?,
            phases: phases(&root)?,
            slo: Slo::of(&root)?,
            slip_percent: slip_percent(&root)?,
        };
        // A group without a form takes the only form the dialect has.
        if let Some(form) = scenario.target.dialect.form() {
            let unsaid = scenario.subscribers.iter_mut().filter(|g| g.form == Form::default());
            unsaid.for_each(|group| group.form = form);
        }
        scenario.check()?;
        Ok(scenario)
    }

    /// Changes the target dialect: all subscribers take the only form the dialect has.
    pub fn set_dialect(&mut self, dialect: Dialect) {
        if let Some(form) = dialect.form() {
            self.subscribers.iter_mut().for_each(|group| group.form = form);
        }
        self.target.dialect = dialect;
    }

    /// Checks conditions that involve several keys, except those that depend on overlays and laps:
    /// `plan::check` checks everything.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |text: String| Err(ScenarioError::Contradiction(text));
        let publishers = self.publisher_count();
        if !(1..=PUBLISHERS_MAX).contains(&publishers) {
            return wrong(format!(
                "{publishers} publishers; 1..={PUBLISHERS_MAX} can be told apart"
            ));
        }
        self.check_topics()?;
        self.check_dialect()?;
        self.check_kill()
    }

    /// Publisher sockets of all groups.
    pub fn publisher_count(&self) -> u64 {
        self.publishers.iter().map(|group| u64::from(group.count)).sum()
    }

    /// Subscriber sockets of all groups.
    pub fn subscriber_sockets(&self) -> u64 {
        self.subscribers.iter().map(SubscriberGroup::sockets).sum()
    }

    fn check_topics(&self) -> Result<(), ScenarioError> {
        let publishers = self.publisher_count();
        for group in &self.subscribers {
            if let TopicsEach::Count(topics) = group.topics
                && u64::from(topics) > publishers
            {
                return Err(ScenarioError::Contradiction(format!(
                    "subscribers `{}` follow {topics} topics each, but there are only \
                     {publishers} publishers; lower topics_each or write \"all\"",
                    group.name
                )));
            }
        }
        Ok(())
    }

    fn check_dialect(&self) -> Result<(), ScenarioError> {
        let dialect = &self.target.dialect;
        let wrong = |text: String| Err(ScenarioError::Contradiction(text));
        for SubscriberGroup { name, form, pace, .. } in &self.subscribers {
            let fits = match dialect.form() {
                Some(only) => *form == only,
                None => !form.has_protocol(),
            };
            if !fits {
                let word = dialect.name();
                return wrong(format!(
                    "subscribers `{name}`: a {word} server has no form `{form}`"
                ));
            }
            if dialect.form().is_some() && pace.is_thinned() {
                return wrong(format!("subscribers `{name}`: only gridcast has `rate` and `mode`"));
            }
        }
        if self.subscribers.iter().any(|group| group.topics == TopicsEach::All) {
            dialect.check_wall(self.publisher_count()).map_err(ScenarioError::Contradiction)?;
        }
        if *dialect != Dialect::Gridcast && self.target.authority.is_none() {
            return wrong(format!(
                "the dialect `{}` needs a server: give --target",
                dialect.name()
            ));
        }
        Ok(())
    }

    fn check_kill(&self) -> Result<(), ScenarioError> {
        let Some(kill) = self.kill else { return Ok(()) };
        let text = if kill.at >= self.phases.measured() {
            "the fault `kill` comes after the measured phase has ended; lower `at`".to_owned()
        } else if u64::from(kill.publishers) > self.publisher_count() {
            format!("the fault `kill` takes {} publishers, more than there are", kill.publishers)
        } else {
            return Ok(());
        };
        Err(ScenarioError::Contradiction(text))
    }

    /// The scenario as a commented TOML file; parsing it gives the same scenario.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_toml(&mut text);
        text
    }

    fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "name = {}", quoted(&self.name))?;
        writeln!(out, "about = {}", quoted(&self.about))?;
        writeln!(out, "seed = {}", self.seed)?;
        if let Some(profile) = self.profile {
            writeln!(out, "profile = {}", quoted(&profile.to_string()))?;
        }
        writeln!(out)?;
        if self.target != Target::default() {
            self.target.write_toml(out)?;
        }
        self.publishers.iter().try_for_each(|group| group.write_toml(out))?;
        self.subscribers.iter().try_for_each(|group| group.write_toml(out))?;
        self.overlays.iter().try_for_each(|overlay| overlay.write_toml(out))?;
        if let Some(kill) = &self.kill {
            write_kill(kill, out)?;
        }
        self.phases.write_toml(out)?;
        self.slo.write_toml(out)?;
        match self.slip_percent {
            Some(percent) => writeln!(out, "\n[health]\nslip_percent = {percent:?}"),
            None => Ok(()),
        }
    }
}

impl Phases {
    /// The whole measured phase: the length of one measurement times their number.
    pub fn measured(&self) -> Duration {
        self.measure.saturating_mul(u32::from(self.repeat))
    }

    fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "[phases]")?;
        for (key, value) in
            [("warmup", self.warmup), ("measure", self.measure), ("drain", self.drain)]
        {
            writeln!(out, "{key} = {}", quoted(&units::format_duration(value)))?;
        }
        if self.repeat > 1 {
            writeln!(out, "repeat = {}", self.repeat)?;
        }
        writeln!(out)
    }
}

fn parse_each<'t, T>(
    sections: Vec<Section<'t>>,
    parse: impl Fn(&Section<'t>) -> Result<T, ScenarioError>,
) -> Result<Vec<T>, ScenarioError> {
    sections.iter().map(parse).collect()
}

fn check_clock(root: &Section<'_>) -> Result<(), ScenarioError> {
    let Some(clock) = root.table("clock", CLOCK_KEYS)? else { return Ok(()) };
    match clock.text("mode")? {
        None | Some("single") => Ok(()),
        Some(other) => Err(clock.bad(
            "mode",
            format!("`{other}` is no mode; publishers and subscribers share one clock: `single`"),
        )),
    }
}

fn phases(root: &Section<'_>) -> Result<Phases, ScenarioError> {
    let section = root.table("phases", PHASE_KEYS)?;
    let duration = |key: &str, default_s: u64, least: Duration| {
        let Some(section) = &section else { return Ok(Duration::from_secs(default_s)) };
        let parsed = section.parsed(key, |text| {
            let duration = units::parse_duration(text)?;
            check_phase(duration, least)
        })?;
        Ok(parsed.unwrap_or(Duration::from_secs(default_s)))
    };
    let repeat = section.as_ref().map(|section| section.integer("repeat", REPEAT)).transpose()?;
    Ok(Phases {
        warmup: duration("warmup", 2, Duration::ZERO)?,
        measure: duration("measure", 10, MEASURE_MIN)?,
        repeat: repeat.flatten().map_or(1, |repeat| repeat as u16),
        drain: duration("drain", 5, Duration::ZERO)?,
    })
}

fn slip_percent(root: &Section<'_>) -> Result<Option<f64>, ScenarioError> {
    let Some(section) = root.table("health", HEALTH_KEYS)? else { return Ok(None) };
    section.number("slip_percent", 0.1..=100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::groups::ClassKind;
    use crate::scenario::publishers::Phase;
    use crate::time::rate::Rate;

    const FULL: &str = r#"
        name = "full"
        about = "every key \"once\""
        seed = 7
        target = { url = "ws://127.0.0.1:9400", source_ips = ["127.1.0.0/24", "127.2.0.1"] }
        clock = { mode = "single" }
        publishers = [{ name = "a", count = 3, fps = 59.94, phase = "jitter=5", payload = "json",
                        topic = "grid/north", burst = "x20 for 2s" },
                      { name = "b", count = 2, fps = 30 }]
        subscribers = [{ name = "desk", count = 10, topics_each = 2, ramp = "500/s" },
                       { name = "desk-bin", count = 5, topics_each = 3, form = "bin",
                         rate = 4, mode = "latest", deflate = true, churn = "1%/min" },
                       { name = "slow", count = 1, class = "slow", read_rate = "4KiB/s" },
                       { name = "dead", count = 1, class = "stalled" },
                       { name = "wall", count = 1, topics_each = "all" }]
        overlays = [{ kind = "late-frames", late_percent = 5 }]
        faults = [{ at = "2s", kind = "kill", subscriber_fraction = 0.3, publishers = 1 }]
        phases = { warmup = "1s", measure = "1m", repeat = 3, drain = "500ms" }
        slo = { e2e_p99 = "20ms", loss = 5 }
    "#;

    fn error(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    /// Replaces one text in the full scenario and returns the resulting error message.
    fn broken(from: &str, to: &str) -> String {
        assert!(FULL.contains(from), "{from}");
        error(&FULL.replacen(from, to, 1))
    }

    #[test]
    fn every_key_is_understood_and_written_back() {
        let scenario = Scenario::parse(FULL).unwrap();
        assert_eq!(scenario.publisher_count(), 5);
        assert_eq!(scenario.subscriber_sockets(), 28);
        assert_eq!(scenario.publishers[0].rate, Rate { num: 5994, den: 100 });
        let jitter = Phase::Jitter { max: Duration::from_millis(5) };
        assert_eq!(scenario.publishers[0].phase, jitter);
        assert_eq!(scenario.subscribers[2].class, ClassKind::Slow { bytes_per_s: 4096 });
        assert_eq!((scenario.slo.loss, scenario.phases.measured().as_secs()), (5, 180));
        assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
        let profile = "profile = \"2 steps of publishers\"\nseed = 7";
        let grows = FULL.replacen("seed = 7", profile, 1).replacen("repeat = 3, ", "", 1);
        let grows = Scenario::parse(&grows).unwrap();
        assert!(grows.profile.is_some());
        assert_eq!(Scenario::parse(&grows.to_toml()), Ok(grows));
    }

    #[test]
    fn defaults_suffice_for_a_short_file() {
        let scenario = Scenario::parse(
            "name = 'x'\n[[publishers]]\nname = 'p'\ncount = 1\nfps = 10\n\
             [[subscribers]]\nname = 's'\ncount = 1",
        )
        .unwrap();
        assert_eq!(scenario.phases.measure, Duration::from_secs(10));
        assert_eq!(scenario.target, Target::default());
        assert_eq!(scenario.slo, Slo::default());
        assert_eq!(scenario.publishers[0].topic_prefix, "pmu");
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_right_one() {
        assert_eq!(
            broken("seed = 7", "sed = 7"),
            "unknown key `sed` in the scenario; did you mean `seed`?"
        );
        assert_eq!(
            broken("phase = \"jitter=5\"", "phases = \"aligned\""),
            "unknown key `phases` in publishers[0]; did you mean `phase`?"
        );
        assert_eq!(
            broken("e2e_p99", "e2e_p90"),
            "unknown key `e2e_p90` in [slo]; did you mean `e2e_p99`?"
        );
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (from, to, message) in [
            ("name = \"full\"", "name = \"a/b\"", "`a/b` must be 1..=64 letters"),
            ("ws://127", "http://127", "is no target; write e.g. `ws://10.0.0.5:9400`"),
            ("url = \"ws", "tls = true, url = \"ws", "write `wss://host:port`"),
            ("ramp = \"500/s\"", "form = \"xml\"", "`xml` is no form; write `raw`, `json`"),
            ("ramp = \"500/s\"", "rate = 0", "0 is outside 1..=1000"),
            ("ramp = \"500/s\"", "mode = \"best\"", "`best` is no mode; write `lossless` or"),
            (
                "ramp = \"500/s\"",
                "deflate = 1",
                "`deflate` in subscribers[0] must be true or false",
            ),
            (
                "ramp = \"500/s\"",
                "form = \"sse\", deflate = true",
                "only WebSockets have compression",
            ),
            (
                "ws://127.0.0.1:9400",
                "ws://127.0.0.1",
                "is no target; write e.g. `ws://10.0.0.5:9400`",
            ),
            ("127.1.0.0/24", "127.1.0.0/99", "is no address range"),
            ("\"single\"", "\"ntp\"", "`ntp` is no mode"),
            ("fps = 59.94", "fps = 0", "`0` is no frame rate"),
            ("fps = 59.94", "fps = 'fast'", "`fast` is no frame rate"),
            ("fps = 59.94, ", "", "`fps` is missing in publishers[0]; write e.g. `fps = 30`"),
            ("jitter=5", "random", "`random` is no phase; write `aligned`, `staggered` or"),
            ("\"json\"", "\"bytes:7\"", "`bytes:7` is no payload"),
            ("grid/north", "grid/#", "`grid/#` is no topic prefix"),
            ("topics_each = 2", "topics_each = 'some'", "`some` is neither a number nor \"all\""),
            ("topics_each = 2", "topics_each = 9", "only 5 publishers; lower topics_each"),
            ("500/s", "quick", "`quick` is no rate; write e.g. `2000/s`"),
            ("\"1%/min\"", "\"1%\"", "`1%` is no churn; write e.g. `1%/min`"),
            ("x20 for 2s", "often", "`often` is no burst; write e.g. `x20 for 2s`"),
            ("late-frames", "lateframes", "did you mean `late-frames`?"),
            (
                "\"stalled\"",
                "\"stalled\", churn = \"1%/min\"",
                "only a subscriber of class `healthy`",
            ),
            ("4KiB/s", "4KiB", "`4KiB` is no byte rate"),
            (", read_rate = \"4KiB/s\"", "", "`read_rate` is missing in subscribers[2]"),
            ("\"stalled\"", "\"dead\"", "`dead` is no class; write `healthy`, `slow` or"),
            ("\"stalled\"", "\"stalled\", read_rate = \"1B/s\"", "only a subscriber of class"),
            ("\"kill\"", "\"storm\"", "`storm` is no fault of this version; `kill` is"),
            ("at = \"2s\"", "at = \"3m\"", "comes after the measured phase has ended"),
            ("= 0.3", "= 1.3", "1.3 is outside 0..=1"),
            ("\"1m\"", "\"1\"", "`1` is no duration"),
            ("\"1m\"", "\"10ms\"", "10ms is outside 1s..="),
            ("loss = 5", "loss = -1", "-1 is outside 0..="),
            ("count = 3", "count = \"3\"", "`count` in publishers[0] must be a whole number"),
        ] {
            let found = broken(from, to);
            assert!(found.contains(message), "{from} -> {to}: {found}");
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let message = error("name = ");
        assert!(message.starts_with("not valid TOML") && message.contains("line 1"), "{message}");
    }

    #[test]
    fn no_publishers_are_refused() {
        assert!(error("name = 'x'").contains("0 publishers"));
    }

    #[test]
    fn a_dialect_is_kept_and_does_not_mix_with_forms_of_another() {
        let base = r#"
            name = "x"
            publishers = [{ name = "a", count = 3, fps = 30 }]
            subscribers = [{ name = "d", count = 2, topics_each = 2 }]
            target = { url = "ws://127.0.0.1:1", dialect = "nats" }
        "#;
        let nats = Scenario::parse(base).unwrap();
        assert_eq!((nats.subscribers[0].form, nats.subscriber_sockets()), (Form::Nats, 2));
        assert_eq!(Scenario::parse(&nats.to_toml()), Ok(nats));
        let raw = base.replace("\"nats\"", r#""raw", subscribe_path = "/s/{topics}""#);
        let raw = Scenario::parse(&raw).unwrap();
        assert_eq!((raw.subscribers[0].form, raw.subscriber_sockets()), (Form::Raw, 4));
        assert_eq!(Scenario::parse(&raw.to_toml()), Ok(raw));
        let socketio = r#""socketio", namespace = "/x", subscribe_acks = false"#;
        let socketio = Scenario::parse(&base.replace("\"nats\"", socketio)).unwrap();
        assert_eq!(socketio.subscribers[0].form, Form::SocketIo);
        assert_eq!(Scenario::parse(&socketio.to_toml()), Ok(socketio));
        let with = |from: &str, to: &str| error(&base.replace(from, to));
        for (from, to, message) in [
            ("topics_each = 2", "topics_each = 2, form = \"bin\"", "has no form `bin`"),
            ("topics_each = 2", "topics_each = 2, rate = 4", "only gridcast has `rate`"),
            ("\"nats\"", "\"irc\"", "`irc` is no dialect"),
            ("\"nats\"", "\"mqtt\", publish_path = \"/p\"", "only the dialects `raw` and `nchan`"),
            ("\"nats\"", "\"pusher\", path = \"/\"", "names no application; write e.g. `/app/KEY"),
            ("\"nats\"", "\"socketio\", namespace = \"x\"", "`x` is no namespace; write e.g. `/`"),
            ("url = \"ws://127.0.0.1:1\", ", "", "needs a server: give --target"),
        ] {
            assert!(with(from, to).contains(message), "{}", with(from, to));
        }
    }
}
