//! Rows that wait to be stored, in the order in which they came. Owns the bound on their bytes.
//! Must not know what is in a row, nor which store it is for.

use std::collections::VecDeque;

/// Something that waits.
pub trait Weighed {
    /// What it occupies in memory.
    fn bytes(&self) -> usize;

    /// What of it was published.
    fn payload_bytes(&self) -> usize;
}

/// The rows that wait, at most `bytes_max` of them and one more.
#[derive(Debug)]
pub struct Spill<R> {
    rows: VecDeque<R>,
    bytes: usize,
    bytes_max: usize,
}

impl<R: Weighed> Spill<R> {
    /// An empty one with this bound.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { rows: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Whether another row may come. Where not, messages stay in the engine's log, and are lost,
    /// and told, once retention has passed them.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes < self.bytes_max
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: R) {
        self.bytes += row.bytes();
        self.rows.push_back(row);
    }

    /// Whether the oldest rows make a batch of this size.
    #[must_use]
    pub fn fills(&self, rows_max: usize, bytes_max: usize) -> bool {
        self.rows.len() >= rows_max || self.bytes >= bytes_max
    }

    /// Takes the oldest rows: at most `rows_max`, and none after the one that reaches `bytes_max`.
    pub fn take(&mut self, rows_max: usize, bytes_max: usize) -> Vec<R> {
        let mut bytes = 0;
        let fits = |row: &&R| {
            let fits = bytes < bytes_max;
            bytes += row.bytes();
            fits
        };
        let count = self.rows.iter().take(rows_max).take_while(fits).count();
        let batch: Vec<R> = self.rows.drain(..count).collect();
        self.bytes -= batch.iter().map(R::bytes).sum::<usize>();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for u32 {
        fn bytes(&self) -> usize {
            *self as usize
        }

        fn payload_bytes(&self) -> usize {
            self.bytes()
        }
    }

    fn spill(rows: &[u32]) -> Spill<u32> {
        let mut spill = Spill::new(2_000);
        rows.iter().for_each(|row| spill.push(*row));
        spill
    }

    #[test]
    fn rows_leave_in_the_order_they_came() {
        let mut spill = spill(&[1, 2, 3, 4, 5]);
        assert_eq!(spill.take(2, usize::MAX), [1, 2]);
        assert_eq!(spill.take(9, usize::MAX), [3, 4, 5]);
        assert!(spill.is_empty() && spill.bytes == 0);
    }

    #[test]
    fn a_batch_ends_with_the_row_that_fills_it() {
        let mut spill = spill(&[1_000, 1_001, 1_002]);
        assert!(spill.fills(9, 3_000) && spill.fills(3, usize::MAX) && !spill.fills(4, 3_004));
        assert_eq!(spill.take(9, 1_500), [1_000, 1_001]);
        assert_eq!(spill.take(9, 1), [1_002], "one row, however large it is");
    }

    #[test]
    fn the_bound_is_passed_by_one_row_at_most() {
        let mut spill = spill(&[]);
        while spill.has_room() {
            spill.push(600);
        }
        assert_eq!(spill.bytes, 2_400);
        spill.take(1, usize::MAX);
        assert!(spill.has_room());
    }
}
