//! An examination as text: a table, then the commands. Must not judge.

use crate::doctor::limit::{Limit, Remedy, State};
use crate::plan::implied::Implied;
use crate::report::table::table;
use crate::scenario::scenario::Scenario;
use crate::time::units::format_exact;

/// The examination for a terminal.
pub fn render(scenario: &Scenario, limits: &[Limit]) -> String {
    let row = |limit: &Limit| {
        let Limit { name, current, needed, state, .. } = limit;
        let state = state.word().to_owned();
        vec![(*name).to_owned(), current.clone(), needed.clone(), state]
    };
    let rows = limits.iter().map(row).collect();
    let table = table(&["limit", "here", "needed", ""], rows);
    format!("\n{}\n\n{table}\n{}", headline(scenario, limits), remedies(limits))
}

fn headline(scenario: &Scenario, limits: &[Limit]) -> String {
    let implied = Implied::of(scenario);
    let count = |state| limits.iter().filter(|limit| limit.state == state).count();
    let load = format!(
        "{}: {} subscriber and {} publisher connections",
        scenario.name,
        format_exact(implied.subscriber_sockets),
        format_exact(implied.publisher_sockets)
    );
    let advice = match count(State::Advice) {
        0 => String::new(),
        some => format!("; {some} could be better"),
    };
    match count(State::TooLow) {
        0 => format!("{load} fit this host{advice}"),
        some => format!("{load} do NOT fit this host: {some} limit(s) too low{advice}"),
    }
}

fn remedies(limits: &[Limit]) -> String {
    let remedied: Vec<_> =
        limits.iter().filter_map(|limit| Some((limit, limit.remedy.as_ref()?))).collect();
    if remedied.is_empty() {
        return String::new();
    }
    let line = |(limit, remedy): &(&Limit, &Remedy)| {
        let (name, state) = (limit.name, limit.state.word());
        format!("\n  # {name} ({state}): {}\n  {}\n", limit.why, remedy.command())
    };
    let lines: String = remedied.iter().map(line).collect();
    format!(
        "\nCommands that change them, as root (--fix applies sysctls and soft limits):\n{lines}"
    )
}
