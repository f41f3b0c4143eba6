//! A planned load, the resources it needs by the fitted model, and the cost of capacity. Pure. Must
//! not know how the model was fitted.

use std::str::FromStr;

use serde::Serialize;

use crate::capacity::load::Load;
use crate::capacity::model::Model;
use crate::codec::form::Form;

/// A load as given by `--plan`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Planned {
    /// Subscribers.
    pub subscribers: u64,
    /// Frames per second of each publisher.
    pub rate: f64,
    /// Payload of a frame, bytes.
    pub bytes: u64,
    /// Publishers; every subscriber follows all of them.
    pub publishers: u64,
}

impl FromStr for Planned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no load to plan for; write e.g. `200000 subscribers x 10/s x 64B`, \
                 and perhaps ` x 20 publishers`"
            )
        };
        let parts: Vec<_> = text.split(['x', '×']).map(str::trim).collect();
        let (first, rest) = parts.split_at_checked(3).ok_or_else(wrong)?;
        let [subscribers, rate, bytes] = first else { return Err(wrong()) };
        let counted = |part: &str, unit: &str| whole(part.strip_suffix(unit)?);
        let publishers = match rest {
            [] => Some(1),
            [publishers] => counted(publishers, "publishers"),
            _ => None,
        };
        let rate = rate.strip_suffix("/s").and_then(|rate| rate.trim().parse::<f64>().ok());
        Ok(Planned {
            subscribers: counted(subscribers, "subscribers").ok_or_else(wrong)?,
            rate: rate.filter(|rate| *rate > 0.0 && *rate <= 1e6).ok_or_else(wrong)?,
            bytes: counted(bytes, "B").ok_or_else(wrong)?,
            publishers: publishers.ok_or_else(wrong)?,
        })
    }
}

/// A number from 1 to a limit that only a typing error exceeds.
fn whole(text: &str) -> Option<u64> {
    let number = text.trim().replace(['_', ','], "").parse().ok();
    number.filter(|number| (1..=1_000_000_000).contains(number))
}

impl Planned {
    /// The load of a server for this plan.
    pub fn load(&self) -> Load {
        let Planned { subscribers, rate, bytes, publishers } = *self;
        let [subscribers, publishers] = [subscribers as f64, publishers as f64];
        let publishes_per_s = publishers * rate;
        let deliveries_per_s = publishes_per_s * subscribers;
        Load {
            connections: subscribers + publishers,
            publishes_per_s,
            deliveries_per_s,
            // Publishers share one grid, so a tick of all of them is one write.
            writes_per_s: rate * subscribers,
            megabytes_per_s: deliveries_per_s * Form::Raw.frame_bytes(bytes) as f64 / 1e6,
        }
    }
}

/// The measured resources of the server.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Footprint {
    /// User memory of a server without connections, bytes.
    pub base_bytes: f64,
    /// User memory per connection, bytes.
    pub user_bytes_per_connection: f64,
    /// Kernel memory per connection, bytes; of both ends, if both are on the measured host.
    pub kernel_bytes_per_connection: f64,
    /// The highest permitted CPU share of the server: the measured share at the largest load that
    /// passed, if the CPUs were the limit.
    pub cpu_share: f64,
    /// Whether the CPUs were the limit.
    pub is_cpu_share_seen: bool,
}

/// The resources a load needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Needs {
    /// CPU seconds per second.
    pub cpus_busy: f64,
    /// Cores, at the highest permitted CPU share.
    pub cores: f64,
    /// User and kernel memory, bytes.
    pub memory_bytes: f64,
    /// Bits per second that leave the server, including packet headers.
    pub wire_bits_per_s: f64,
    /// Machines with the requested number of cores.
    pub machines: u64,
    /// How far the load exceeds all measured loads in any term; above 1 the model is extrapolated.
    pub beyond: f64,
}

impl Needs {
    /// The resources for a load, by a model that was fitted to loads up to `seen`.
    pub fn of(
        load: &Load,
        model: &Model,
        footprint: &Footprint,
        machine_cores: u32,
        seen: &Load,
    ) -> Needs {
        let cpus_busy = model.cpus(load);
        let cores = cpus_busy / footprint.cpu_share.clamp(0.01, 1.0);
        let per_connection =
            footprint.user_bytes_per_connection + footprint.kernel_bytes_per_connection;
        Needs {
            cpus_busy,
            cores,
            memory_bytes: footprint.base_bytes + load.connections * per_connection,
            wire_bits_per_s: load.wire_bits_per_s(),
            machines: (cores / f64::from(machine_cores.max(1))).ceil().max(1.0) as u64,
            beyond: load.beyond(seen),
        }
    }
}

/// The prices of cores and egress.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prices {
    /// Dollars per core and hour.
    pub core_hour: f64,
    /// Dollars per 10^9 bytes that leave the server.
    pub egress_gigabyte: f64,
}

/// The cost of the measured load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Costs {
    /// Dollars per 100,000 subscribers and hour.
    pub per_100k_subscribers_hour: f64,
    /// Dollars per 10^9 deliveries.
    pub per_billion_deliveries: f64,
}

impl Costs {
    /// The cost of a load that took this many cores for this many subscribers.
    pub fn of(load: &Load, subscribers: f64, cores: f64, prices: &Prices) -> Costs {
        let gigabytes_per_hour = load.wire_bits_per_s() / 8e9 * 3600.0;
        let per_hour = cores * prices.core_hour + gigabytes_per_hour * prices.egress_gigabyte;
        Costs {
            per_100k_subscribers_hour: per_hour / subscribers * 1e5,
            per_billion_deliveries: per_hour / (load.deliveries_per_s * 3600.0) * 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Planned {
        text.parse().unwrap()
    }

    #[test]
    fn loads_are_written_as_people_say_them() {
        let one = Planned { subscribers: 200_000, rate: 10.0, bytes: 64, publishers: 1 };
        assert_eq!(planned("200000 subscribers x 10/s x 64B"), one);
        assert_eq!(planned("200_000 subscribers×10/s×64 B"), one);
        let many = Planned { publishers: 20, rate: 0.5, ..one };
        assert_eq!(planned("200,000 subscribers x 0.5/s x 64B x 20 publishers"), many);
        for wrong in [
            "",
            "5 subscribers",
            "5 x 10/s x 64B",
            "5 subscribers x 0/s x 64B",
            "0 subscribers x 1/s x 64B",
            "5 subscribers x 1/s x 64B x 2",
        ] {
            assert!(wrong.parse::<Planned>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plan_multiplies_out() {
        let load = planned("1000 subscribers x 10/s x 64B x 20 publishers").load();
        assert_eq!((load.connections, load.publishes_per_s), (1_020.0, 200.0));
        assert_eq!((load.deliveries_per_s, load.writes_per_s), (200e3, 10e3));
        assert_eq!(load.megabytes_per_s, 200e3 * 66.0 / 1e6);
    }

    #[test]
    fn needs_follow_from_the_model_and_how_full_cores_may_be() {
        let load = planned("200000 subscribers x 10/s x 64B").load();
        let runs: Vec<_> = (1..5)
            .map(|n| {
                let load = Load { deliveries_per_s: f64::from(n) * 1e5, ..Load::default() };
                (load, f64::from(n) * 0.25)
            })
            .collect();
        let model = Model::fit(&runs).unwrap();
        let footprint = Footprint {
            base_bytes: 1e6,
            user_bytes_per_connection: 1_000.0,
            kernel_bytes_per_connection: 4_000.0,
            cpu_share: 0.5,
            is_cpu_share_seen: true,
        };
        let needs = Needs::of(&load, &model, &footprint, 4, &runs[3].0);
        assert!((needs.cpus_busy - 5.0).abs() < 1e-6, "2 M deliveries at 2.5 µs: {needs:?}");
        assert!((needs.cores - 10.0).abs() < 1e-6 && needs.machines == 3, "{needs:?}");
        assert_eq!(needs.memory_bytes, 1e6 + 200_001.0 * 5_000.0);
        assert!((needs.beyond - 5.0).abs() < 1e-9, "{needs:?}");
        // Two million writes, each a packet of 66 bytes overhead and 90 bytes of data.
        assert_eq!(needs.wire_bits_per_s, 2e6 * 156.0 * 8.0);
    }

    #[test]
    fn costs_are_those_of_cores_and_bytes() {
        let load = planned("1000 subscribers x 10/s x 64B").load();
        let prices = Prices { core_hour: 0.04, egress_gigabyte: 0.0 };
        let costs = Costs::of(&load, 1_000.0, 2.0, &prices);
        assert!((costs.per_100k_subscribers_hour - 8.0).abs() < 1e-9);
        assert!((costs.per_billion_deliveries - 0.08 / 36e6 * 1e9).abs() < 1e-9);
        let prices = Prices { core_hour: 0.0, egress_gigabyte: 0.1 };
        let costs = Costs::of(&load, 1_000.0, 2.0, &prices);
        assert!((costs.per_billion_deliveries - 15.6).abs() < 1e-9, "156 bytes each: {costs:?}");
    }
}
