//! Which kinds there are in this build, and which table each of them reads. The only place that
//! names them all. Must not know what a kind does.

use gridcast::settings::attached::Attached;
use gridcast::settings::choices::Publishing;
use gridcast::settings::layers::SettingsError;
use toml::Table;

use crate::bridge::settings::Common;
use crate::bridge::supervisor::Bridge;
use crate::table::Reader;

/// A kind of bridge.
struct Kind {
    name: &'static str,
    /// Makes one of its settings.
    read: fn(Common, Reader) -> Result<Box<dyn Bridge>, String>,
}

/// Every kind of bridge.
const KINDS: &[Kind] = &[
    #[cfg(feature = "amqp")]
    Kind { name: "amqp", read: crate::amqp::read },
    #[cfg(feature = "c37118")]
    Kind { name: "c37118", read: crate::c37118::read },
    #[cfg(feature = "gridcast")]
    Kind { name: "gridcast", read: crate::gridcast::read },
    #[cfg(feature = "influx")]
    Kind { name: "influx", read: crate::influx::read },
    #[cfg(feature = "kafka")]
    Kind { name: "kafka", read: crate::kafka::read },
    #[cfg(feature = "mqtt")]
    Kind { name: "mqtt", read: crate::mqtt::read },
    #[cfg(feature = "nats")]
    Kind { name: "nats", read: crate::nats::read },
    #[cfg(feature = "postgres")]
    Kind { name: "postgres", read: crate::postgres::read },
    #[cfg(feature = "redis")]
    Kind { name: "redis", read: crate::redis::read },
];

/// Checks the tables of everything that can be attached.
///
/// # Errors
/// Everything that is wrong, one line each.
pub fn check(attached: &Attached) -> Result<(), SettingsError> {
    let read = SettingsError::both(bridges(attached), groups(attached));
    let read = SettingsError::both(read, aggregates(attached));
    SettingsError::both(read, backplane(attached)).map(drop)
}

/// The aggregates of all tables.
///
/// # Errors
/// Everything that is wrong, one line each.
#[cfg(feature = "aggregate")]
pub fn aggregates(
    attached: &Attached,
) -> Result<Vec<crate::aggregate::settings::Row>, SettingsError> {
    crate::aggregate::read(&attached.aggregate).map_err(SettingsError)
}

/// There are no aggregates in this build.
///
/// # Errors
/// Where there is a table that nobody reads.
#[cfg(not(feature = "aggregate"))]
pub fn aggregates(attached: &Attached) -> Result<(), SettingsError> {
    match attached.aggregate.first() {
        Some(_) => Err(SettingsError(vec!["[[aggregate]]: this build lacks them".to_owned()])),
        None => Ok(()),
    }
}

/// The back-plane, if there is to be one.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "backplane")]
pub fn backplane(
    attached: &Attached,
) -> Result<Option<crate::backplane::settings::Backplane>, SettingsError> {
    let table = attached.backplane.first();
    let read = table.map(crate::backplane::settings::Backplane::read).transpose();
    read.map_err(|error| SettingsError(vec![error]))
}

/// How an engine with these tables publishes: by way of a log, where a back-plane is one.
#[must_use]
pub fn publishing(attached: &Attached) -> Publishing {
    #[cfg(feature = "backplane")]
    if let Ok(Some(settings)) = backplane(attached)
        && settings.mode == crate::backplane::settings::Mode::Log
    {
        return Publishing::Log;
    }
    Publishing::Local
}

/// There is no back-plane in this build.
///
/// # Errors
/// Where there is a table that nobody reads.
#[cfg(not(feature = "backplane"))]
pub fn backplane(attached: &Attached) -> Result<(), SettingsError> {
    match attached.backplane.first() {
        Some(_) => Err(SettingsError(vec!["[backplane]: this build lacks backplane".to_owned()])),
        None => Ok(()),
    }
}

/// The groups of all tables.
///
/// # Errors
/// Everything that is wrong, one line each.
#[cfg(feature = "c37118")]
pub fn groups(attached: &Attached) -> Result<Vec<crate::align::settings::Settings>, SettingsError> {
    crate::align::settings::Settings::read_all(&attached.align).map_err(SettingsError)
}

/// There are no groups in this build.
///
/// # Errors
/// Where there is a table that nobody reads.
#[cfg(not(feature = "c37118"))]
pub fn groups(attached: &Attached) -> Result<(), SettingsError> {
    match attached.align.first() {
        Some(_) => Err(SettingsError(vec!["[[align]]: this build lacks c37118".to_owned()])),
        None => Ok(()),
    }
}

/// The bridges of all tables.
///
/// # Errors
/// Everything that is wrong, one line each.
pub fn bridges(attached: &Attached) -> Result<Vec<Box<dyn Bridge>>, SettingsError> {
    let (mut bridges, mut errors, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (index, table) in attached.bridge.iter().enumerate() {
        match bridge(index, table) {
            Ok(bridge) if names.contains(&bridge.name().to_owned()) => {
                errors.push(format!("bridge \"{}\": another has that name", bridge.name()));
            }
            Ok(bridge) => {
                names.push(bridge.name().to_owned());
                bridges.push(bridge);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bridges) } else { Err(SettingsError(errors)) }
}

fn bridge(index: usize, table: &Table) -> Result<Box<dyn Bridge>, String> {
    let mut reader = Reader::new("bridge", index, table);
    let common = Common::take(&mut reader)?;
    let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    match KINDS.iter().find(|kind| kind.name == common.kind) {
        Some(kind) => (kind.read)(common, reader),
        None => {
            let error = format!("`{}` is none: {}", common.kind, known.join(", "));
            Err(reader.wrong("kind", &error))
        }
    }
}
