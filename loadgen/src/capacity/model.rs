//! The CPU cost of a load: a sum of non-negative terms, fitted to measured runs. Pure. Must not
//! know runs or prices.

use serde::Serialize;

use crate::capacity::least_squares::non_negative;
use crate::capacity::load::{Load, TERMS};

/// The CPUs that a server needs for a load: each coefficient is CPU seconds per unit of its term.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Model {
    /// CPUs independent of the load.
    pub constant: f64,
    /// CPUs per connection.
    pub connection: f64,
    /// CPU seconds per frame received.
    pub publish: f64,
    /// CPU seconds per frame sent.
    pub delivery: f64,
    /// CPU seconds per socket write.
    pub write: f64,
    /// CPU seconds per 10^6 bytes sent.
    pub megabyte: f64,
    /// The number of runs it was fitted to.
    pub runs: usize,
    /// The mean relative error over these runs.
    pub fit_error: f64,
}

/// The fewest runs that determine a model.
const RUNS_MIN: usize = 3;

impl Model {
    /// Fits the model to the costs of runs. Each run counts by its relative error, so that small
    /// loads fit as well as large ones. `None` if there are too few runs.
    pub fn fit(runs: &[(Load, f64)]) -> Option<Model> {
        let runs: Vec<_> = runs.iter().filter(|(_, cpus)| *cpus > 0.0).collect();
        if runs.len() < RUNS_MIN {
            return None;
        }
        let row = |(load, cpus): &&(Load, f64)| load.terms().map(|term| term / cpus);
        let rows: Vec<_> = runs.iter().map(row).collect();
        let model = Model::new(non_negative(&rows, &vec![1.0; rows.len()]), runs.len());
        let errors = runs.iter().map(|(load, cpus)| model.error(load, *cpus).abs());
        Some(Model { fit_error: errors.sum::<f64>() / runs.len() as f64, ..model })
    }

    fn new(coefficients: [f64; TERMS], runs: usize) -> Model {
        let [constant, connection, publish, delivery, write, megabyte] = coefficients;
        Model { constant, connection, publish, delivery, write, megabyte, runs, fit_error: 0.0 }
    }

    /// The CPUs that a load needs.
    pub fn cpus(&self, load: &Load) -> f64 {
        let Model { constant, connection, publish, delivery, write, megabyte, .. } = *self;
        let coefficients = [constant, connection, publish, delivery, write, megabyte];
        coefficients.iter().zip(load.terms()).map(|(cost, term)| cost * term).sum()
    }

    /// The relative error for a run that used this many CPUs; positive if the model predicts too
    /// much.
    pub fn error(&self, load: &Load, cpus: f64) -> f64 {
        self.cpus(load) / cpus - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    /// Walls (dashboards that follow everything) of this many publishers at this rate.
    fn walls(walls: f64, publishers: f64, rate: f64, bytes: f64) -> Load {
        let deliveries_per_s = walls * publishers * rate;
        Load {
            connections: walls + publishers,
            publishes_per_s: publishers * rate,
            deliveries_per_s,
            writes_per_s: walls * rate,
            megabytes_per_s: deliveries_per_s * bytes / 1e6,
        }
    }

    /// The loads of a typical search with its variations.
    fn seen() -> Vec<Load> {
        let searched = [50.0, 100.0, 200.0, 400.0, 283.0, 336.0, 308.0];
        let mut loads: Vec<_> = searched.map(|count| walls(count, 100.0, 60.0, 94.0)).to_vec();
        loads.push(walls(308.0, 50.0, 60.0, 94.0));
        loads.push(walls(308.0, 100.0, 30.0, 94.0));
        loads.push(walls(154.0, 100.0, 60.0, 372.0));
        loads
    }

    #[test]
    fn few_runs_give_no_model() {
        let load = walls(1.0, 1.0, 1.0, 1.0);
        assert_eq!(Model::fit(&[(load, 0.1), (load, 0.1), (load, 0.0)]), None);
    }

    proptest! {
        /// With a few percent of noise, predictions between and beyond the runs are still good.
        #[test]
        fn a_load_between_those_seen_is_predicted(
            write_us in 2.0f64..10.0,
            delivery_ns in 20.0f64..200.0,
            publish_us in 1.0f64..10.0,
            megabyte_us in 0.0f64..500.0,
            seed: u64,
        ) {
            let truth = Model::new(
                [0.01, 1e-6, publish_us * 1e-6, delivery_ns * 1e-9, write_us * 1e-6,
                 megabyte_us * 1e-6],
                0,
            );
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let runs: Vec<_> = seen()
                .into_iter()
                .map(|load| (load, truth.cpus(&load) * rng.random_range(0.97..1.03)))
                .collect();
            let model = Model::fit(&runs).unwrap();
            prop_assert!(model.fit_error < 0.04, "{:?}", model);
            let held_out = walls(231.0, 75.0, 45.0, 94.0);
            let error = model.error(&held_out, truth.cpus(&held_out));
            prop_assert!(error.abs() < 0.15, "{}: {:?}", error, model);
        }

        /// Without noise the fit finds the true costs, for every load.
        #[test]
        fn exact_costs_are_met_exactly(coefficients in prop::array::uniform6(0.0f64..1e-3)) {
            let truth = Model::new(coefficients, 0);
            let runs: Vec<_> = seen().into_iter().map(|load| (load, truth.cpus(&load))).collect();
            prop_assume!(runs.iter().all(|(_, cpus)| *cpus > 1e-9));
            let model = Model::fit(&runs).unwrap();
            prop_assert!(model.fit_error < 1e-3, "{:?}", model);
        }
    }
}
