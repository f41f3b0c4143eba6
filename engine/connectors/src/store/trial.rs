//! How many rows are written next while rows at fault are looked for among others: half as many
//! after each refusal, twice as many after each success. Must not write.
//!
//! A row at fault among many is found after some `2 log2` writes; a batch of nothing but such rows
//! takes one write for each. No row counts as refused that was not refused alone.

/// See the file header.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    rows: usize,
}

impl Trial {
    /// Begins with so many rows.
    #[must_use]
    pub fn of(rows: usize) -> Self {
        Self { rows: rows.max(1) }
    }

    /// How many of `left` rows are written next.
    #[must_use]
    pub fn rows(self, left: usize) -> usize {
        self.rows.min(left)
    }

    /// They were stored.
    pub fn stored(&mut self) {
        self.rows = self.rows.saturating_mul(2);
    }

    /// So many rows were refused. Answers whether the row at fault stands alone: it is passed over.
    pub fn refused(&mut self, rows: usize) -> bool {
        self.rows = (rows / 2).max(1);
        rows <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes rows, true for a right one, as a store that takes all or none. Answers which were
    /// stored, how many were refused, and how many writes that took.
    fn write(rows: &[bool]) -> (usize, usize, usize) {
        let (mut trial, mut left) = (Trial::of(rows.len()), rows);
        let (mut stored, mut refused, mut writes) = (0, 0, 0);
        while !left.is_empty() {
            writes += 1;
            let count = trial.rows(left.len());
            if left[..count].iter().all(|is_right| *is_right) {
                trial.stored();
                stored += count;
                left = &left[count..];
            } else if trial.refused(count) {
                refused += 1;
                left = &left[1..];
            }
        }
        (stored, refused, writes)
    }

    #[test]
    fn few_wrong_rows_cost_few_writes_and_no_right_row() {
        let mut rows = vec![true; 5_000];
        assert_eq!(write(&rows), (5_000, 0, 1));
        rows[2_500] = false;
        let (stored, refused, writes) = write(&rows);
        assert_eq!((stored, refused), (4_999, 1));
        assert!(writes <= 40, "{writes} writes");
        // As many as used to end the search.
        (0..5_000).step_by(25).for_each(|at| rows[at] = false);
        let (stored, refused, _) = write(&rows);
        assert_eq!((stored, refused), (4_800, 200));
    }

    #[test]
    fn nothing_but_wrong_rows_ends_with_a_write_for_each() {
        let (stored, refused, writes) = write(&[false; 5_000]);
        assert_eq!((stored, refused), (0, 5_000));
        assert!(writes <= 5_020, "{writes} writes");
    }

    proptest! {
        #[test]
        fn right_rows_are_stored_and_wrong_ones_refused(
            rows in proptest::collection::vec(any::<bool>(), 0..300),
        ) {
            let right = rows.iter().filter(|is_right| **is_right).count();
            let (stored, refused, writes) = write(&rows);
            prop_assert_eq!((stored, refused), (right, rows.len() - right));
            prop_assert!(writes <= 3 * rows.len() + 1);
        }
    }
}
