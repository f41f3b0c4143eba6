//! Least squares with non-negative coefficients, for a few columns. Must not know what the numbers
//! mean.

/// The non-negative coefficients with the smallest squared error.
///
/// The optimum sets some coefficients to zero and is the ordinary solution for the others. There
/// are few columns, so every subset is solved and the best solution without negative coefficients
/// is returned. This is exact and always terminates.
pub fn non_negative<const N: usize>(rows: &[[f64; N]], wanted: &[f64]) -> [f64; N] {
    let scales = scales(rows);
    let normal = Normal::of(rows, wanted, &scales);
    let mut best = ([0.0; N], normal.square_of_wanted);
    let mut choices: Vec<u32> = (1..1 << N).collect();
    // Of two subsets that fit equally well the smaller one is kept.
    choices.sort_by_key(|choice| choice.count_ones());
    for choice in choices {
        let Some(solution) = normal.solve(choice) else { continue };
        let residual = normal.residual(&solution);
        if solution.iter().all(|value| *value >= 0.0)
            && residual + normal.square_of_wanted * NO_BETTER < best.1
        {
            best = (solution, residual);
        }
    }
    let mut coefficients = best.0;
    for (coefficient, scale) in coefficients.iter_mut().zip(scales) {
        *coefficient /= scale;
    }
    coefficients
}

/// A fit counts as better only if it improves the error by more than this share.
const NO_BETTER: f64 = 1e-12;
/// A column whose independent part is smaller than this share is a mixture of others and is not
/// used.
const SINGULAR: f64 = 1e-9;

/// The norms of the columns, so that no column has more weight because of its unit; 1 for empty
/// ones.
fn scales<const N: usize>(rows: &[[f64; N]]) -> [f64; N] {
    let length = |column: usize| rows.iter().map(|row| row[column].powi(2)).sum::<f64>().sqrt();
    std::array::from_fn(length).map(|length: f64| if length > 0.0 { length } else { 1.0 })
}

/// The normal equations of scaled columns.
struct Normal<const N: usize> {
    matrix: [[f64; N]; N],
    right: [f64; N],
    square_of_wanted: f64,
}

impl<const N: usize> Normal<N> {
    fn of(rows: &[[f64; N]], wanted: &[f64], scales: &[f64; N]) -> Normal<N> {
        let mut normal = Normal {
            matrix: [[0.0; N]; N],
            right: [0.0; N],
            square_of_wanted: wanted.iter().map(|value| value * value).sum(),
        };
        for (row, wanted) in rows.iter().zip(wanted) {
            for (i, scale) in scales.iter().enumerate() {
                let value = row[i] / scale;
                normal.right[i] += value * wanted;
                for (j, scale) in scales.iter().enumerate() {
                    normal.matrix[i][j] += value * row[j] / scale;
                }
            }
        }
        normal
    }

    /// The ordinary solution for the chosen columns, with zero for the others; `None` if they do
    /// not determine a solution.
    fn solve(&self, choice: u32) -> Option<[f64; N]> {
        let columns: Vec<usize> = (0..N).filter(|column| choice >> column & 1 == 1).collect();
        let mut system: Vec<Vec<f64>> = columns
            .iter()
            .map(|&i| {
                let left = columns.iter().map(|&j| self.matrix[i][j]);
                left.chain([self.right[i]]).collect()
            })
            .collect();
        eliminate(&mut system)?;
        let mut solution = [0.0; N];
        for (row, &column) in system.iter().zip(&columns) {
            solution[column] = *row.last()?;
        }
        Some(solution)
    }

    /// The squared error of a solution.
    fn residual(&self, solution: &[f64; N]) -> f64 {
        let explained: f64 = solution.iter().zip(&self.right).map(|(x, right)| x * right).sum();
        self.square_of_wanted - explained
    }
}

/// Gauss elimination with pivots on the diagonal. This is safe because the matrix is symmetric and
/// its diagonal starts as 1.
fn eliminate(system: &mut [Vec<f64>]) -> Option<()> {
    for at in 0..system.len() {
        let pivot = system[at][at];
        if pivot < SINGULAR {
            return None;
        }
        system[at].iter_mut().for_each(|value| *value /= pivot);
        let row = system[at].clone();
        for (other, target) in system.iter_mut().enumerate() {
            if other != at {
                let factor = target[at];
                target.iter_mut().zip(&row).for_each(|(value, part)| *value -= factor * part);
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn residual(rows: &[[f64; 3]], wanted: &[f64], coefficients: &[f64; 3]) -> f64 {
        let of = |row: &[f64; 3]| row.iter().zip(coefficients).map(|(a, x)| a * x).sum::<f64>();
        rows.iter().zip(wanted).map(|(row, wanted)| (of(row) - wanted).powi(2)).sum()
    }

    #[test]
    fn a_column_that_would_count_negatively_is_left_out() {
        // Plain least squares gives 3 and -1.
        let found = non_negative(&[[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], &[2.0, 3.0, 0.0]);
        assert_eq!(found.map(|value| (value * 1e9).round() / 1e9), [2.5, 0.0]);
    }

    #[test]
    fn columns_that_are_the_same_or_empty_do_no_harm() {
        let rows: Vec<_> = (1..6).map(|n| [f64::from(n), f64::from(2 * n), 0.0]).collect();
        let wanted: Vec<_> = (1..6).map(|n| f64::from(4 * n)).collect();
        let found = non_negative(&rows, &wanted);
        assert!((found[0] + 2.0 * found[1] - 4.0).abs() < 1e-9, "{found:?}");
        assert_eq!(non_negative::<2>(&[], &[]), [0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn what_was_mixed_is_found_again(
            truth in prop::array::uniform3(0.0f64..100.0),
            rows in vec(prop::array::uniform3(1.0f64..10.0), 8..20),
            unit in 1e-6f64..1e6,
        ) {
            let rows: Vec<_> = rows.iter().map(|[a, b, c]| [*a, *b * unit, *c / unit]).collect();
            let truth = [truth[0], truth[1] / unit, truth[2] * unit];
            let of = |row: &[f64; 3]| row.iter().zip(truth).map(|(a, x)| a * x).sum::<f64>();
            let wanted: Vec<_> = rows.iter().map(of).collect();
            let found = non_negative(&rows, &wanted);
            for (row, wanted) in rows.iter().zip(&wanted) {
                let fitted: f64 = row.iter().zip(found).map(|(a, x)| a * x).sum();
                prop_assert!((fitted - wanted).abs() <= 1e-4 * wanted.abs().max(1.0));
            }
        }

        #[test]
        fn nothing_non_negative_fits_better(
            rows in vec(prop::array::uniform3(-5.0f64..5.0), 4..12),
            noise in vec(-10.0f64..10.0, 12),
            others in vec(prop::array::uniform3(0.0f64..20.0), 50),
        ) {
            let found = non_negative(&rows, &noise[..rows.len()]);
            prop_assert!(found.iter().all(|value| *value >= 0.0));
            let own = residual(&rows, &noise, &found);
            for other in &others {
                prop_assert!(own <= residual(&rows, &noise, other) + 1e-6);
            }
            // No solution nearby is better.
            for (at, step) in (0..3).flat_map(|at| [(at, 0.01), (at, -0.01)]) {
                let mut near = found;
                near[at] = f64::max(near[at] + step, 0.0);
                prop_assert!(own <= residual(&rows, &noise, &near) + 1e-6);
            }
        }
    }
}
