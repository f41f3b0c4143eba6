//! What a thread reports while it runs: its seconds, its part of the progress counters, and that it
//! has received everything. Must not read sockets.

use std::sync::atomic::Ordering;

use crate::drive::subscribers::worker::SubscriberThread;

impl SubscriberThread<'_> {
    pub(super) fn note_second(&mut self, now_ns: u64) {
        if self.meter.is_none() {
            self.meter = self
                .run_state
                .publisher_index
                .get()
                .map(|publisher_index| self.run_state.meter(publisher_index));
        }
        let Some(meter) = &mut self.meter else { return };
        if let Some(second) = meter.passed(now_ns) {
            self.run_state.progress.note_busy(meter.busy_last());
            self.send_second(second);
        }
    }

    pub(super) fn send_second(&mut self, second: u32) {
        // The receiver may have ended already; the totals do not depend on windows.
        let _ = self.windows.send(self.context.reception.take_second(second));
    }

    pub(super) fn report_progress(&mut self) {
        let progress = self.run_state.progress;
        let received = self.context.reception.received();
        progress.received.fetch_add(received - self.reported.received, Ordering::Relaxed);
        self.reported.received = received;
        let missing = self.context.reception.missing();
        // Both counters wrap alike when a late frame fills a gap.
        let change = missing.wrapping_sub(self.reported.missing);
        progress.lost.fetch_add(change, Ordering::Relaxed);
        self.reported.missing = missing;
        if !self.is_ramped || self.reported.errors != self.ramp.errors() {
            let errors = self.ramp.errors();
            progress.errors.fetch_add(errors - self.reported.errors, Ordering::Relaxed);
            self.reported.errors = errors;
        }
    }

    pub(super) fn report_if_drained(&mut self) {
        if self.is_drained || !self.run_state.draining.load(Ordering::Acquire) {
            return;
        }
        let publisher_index = self.run_state.publisher_index.get();
        if publisher_index
            .is_none_or(|publisher_index| self.context.reception.is_complete(publisher_index))
        {
            self.is_drained = true;
            self.run_state.drained.fetch_add(1, Ordering::AcqRel);
        }
    }
}
