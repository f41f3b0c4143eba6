//! The quantities plotted over time besides latencies: throughput, loss, and the server's
//! resources. Converts the windows and samples of a run to values in columns. Must not draw.

use std::collections::BTreeMap;

use crate::receive::outcome::window::Window;
use crate::report::html::document::{Document, Sample, Usage};
use crate::report::html::series::{Line, Series, Shape, Unit};
use crate::report::html::timeline::{Reading, Timeline};

/// All quantities, in the order of the page.
pub fn all(run: &Document, timeline: &Timeline) -> Vec<Series> {
    vec![
        rate(run, timeline, ("received", "Frames received"), |window| window.received),
        rate(run, timeline, ("sent", "Frames published"), |window| window.sent),
        loss(run, timeline),
        cpu(run, timeline),
        memory(run, timeline),
        socket_memory(run, timeline),
        switches(run, timeline),
    ]
}

fn rate(
    run: &Document,
    timeline: &Timeline,
    (id, title): (&'static str, &'static str),
    count: fn(&Window) -> u64,
) -> Series {
    let reading = |window: &Window| instant(f64::from(window.t_s), count(window) as f64);
    let values = timeline.means(&run.windows.iter().map(reading).collect::<Vec<_>>());
    let lines = vec![line("frames", values)];
    let note = match id {
        "received" => "By all subscribers, warm-up and drain included.",
        _ => "By all publishers; each is one frame, however many subscribers it has.",
    };
    let (unit, shape) = (Unit::FramesPerS, Shape::Lines);
    Series { id, title, note: note.to_owned(), unit, shape, lines }
}

fn loss(run: &Document, timeline: &Timeline) -> Series {
    let sums = |count: fn(&Window) -> u64| {
        let mut sums = vec![None; timeline.columns()];
        for window in &run.windows {
            let column = timeline.column_of(f64::from(window.t_s));
            if let Some(sum) = column.and_then(|column| sums.get_mut(column)) {
                *sum = Some(sum.unwrap_or(0.0) + count(window) as f64);
            }
        }
        sums
    };
    let lines = vec![
        line("frames lost", sums(|window| window.missing)),
        line("gaps reported", sums(|window| window.gaps)),
    ];
    let note = match run.windows.iter().any(|window| window.missing + window.gaps > 0) {
        true => "When a subscriber noticed, with the next frame that it did get.",
        false => "No subscriber noticed a gap between frames.",
    };
    let note = format!("{note} What nothing came after is in the table below.");
    let (id, title) = ("loss", "Loss and gaps");
    Series { id, title, note, unit: Unit::Count, shape: Shape::Bars, lines }
}

fn cpu(run: &Document, timeline: &Timeline) -> Series {
    let total = growth(run, timeline, |sample| Some(sample.server?.cpu_ns as f64 / 1e9));
    let (id, title) = ("cpu", "Server CPU");
    let (lines, note) = match threads(run, timeline, &total) {
        Some(lines) => (lines, "By thread, one upon another; 1 is a whole CPU."),
        None => (vec![line("all threads", total)], "All threads; 1 is a whole CPU."),
    };
    let note = where_watched(run, note);
    Series { id, title, note, unit: Unit::Cpus, shape: Shape::Stack, lines }
}

/// The threads with the most CPU time, and the rest of the whole process; `None` if threads were
/// not sampled.
fn threads(run: &Document, timeline: &Timeline, total: &[Option<f64>]) -> Option<Vec<Line>> {
    let mut busiest = Vec::from_iter(names(run));
    let all_ns: u64 = busiest.iter().map(|(_, (_, cpu_ns))| cpu_ns).sum();
    busiest.retain(|(_, (_, cpu_ns))| *cpu_ns as f64 >= SHARE_MIN * all_ns as f64);
    busiest.sort_by_key(|(id, (_, cpu_ns))| (std::cmp::Reverse(*cpu_ns), *id));
    busiest.truncate(THREADS_MAX);
    busiest.sort_by_key(|(id, _)| *id);
    let mut lines: Vec<_> = busiest
        .into_iter()
        .map(|(id, (name, _))| {
            let of = |sample: &Sample| {
                let thread = sample.server_threads.iter().find(|thread| thread.id == id)?;
                Some(thread.cpu_ns as f64 / 1e9)
            };
            let known = total.iter().zip(growth(run, timeline, of));
            line(&name, known.map(|(total, own)| total.and(own.or(Some(0.0)))).collect())
        })
        .collect();
    lines.push(others(total, &lines));
    (lines.len() > 1).then_some(lines)
}

/// The server's threads with their names and their total CPU time.
fn names(run: &Document) -> BTreeMap<i32, (String, u64)> {
    let threads = run.samples.points.iter().flat_map(|sample| &sample.server_threads);
    let mut names: BTreeMap<i32, (String, u64)> = BTreeMap::new();
    for thread in threads {
        let (name, cpu_ns) = names.entry(thread.id).or_default();
        (*name, *cpu_ns) = (thread.name.clone(), thread.cpu_ns.max(*cpu_ns));
    }
    names
}

fn others(total: &[Option<f64>], lines: &[Line]) -> Line {
    let rest = |(column, total): (usize, &Option<f64>)| {
        let known = lines.iter().filter_map(|line| line.values.get(column).copied().flatten());
        total.map(|total| (total - known.sum::<f64>()).max(0.0))
    };
    line("others", total.iter().enumerate().map(rest).collect())
}

fn memory(run: &Document, timeline: &Timeline) -> Series {
    let value = |sample: &Sample| Some(sample.server?.rss_bytes as f64);
    let lines = vec![line("resident", level(run, timeline, value))];
    let note = where_watched(run, "Resident memory of the process.");
    let (id, title, unit, shape) = ("memory", "Server memory", Unit::Bytes, Shape::Lines);
    Series { id, title, note, unit, shape, lines }
}

fn socket_memory(run: &Document, timeline: &Timeline) -> Series {
    let value = |sample: &Sample| Some(sample.host.tcp_memory_bytes as f64);
    let lines = vec![line("TCP buffers", level(run, timeline, value))];
    let note = "Held by the kernel for all TCP sockets of the host, the generator's among them.";
    let (id, title, unit, shape) = ("sockets", "Socket memory", Unit::Bytes, Shape::Lines);
    Series { id, title, note: note.to_owned(), unit, shape, lines }
}

fn switches(run: &Document, timeline: &Timeline) -> Series {
    let of = |count: fn(Usage) -> u64| {
        growth(run, timeline, move |sample| Some(count(sample.server?) as f64))
    };
    let lines = vec![
        line("waited", of(|usage| usage.switches_voluntary)),
        line("preempted", of(|usage| usage.switches_involuntary)),
    ];
    let note = where_watched(run, "Of all threads of the server.");
    let (id, title) = ("switches", "Context switches");
    Series { id, title, note, unit: Unit::SwitchesPerS, shape: Shape::Lines, lines }
}

fn where_watched(run: &Document, note: &str) -> String {
    let is_watched = run.samples.points.iter().any(|sample| sample.server.is_some());
    if is_watched {
        note.to_owned()
    } else {
        "The server's process could not be watched.".to_owned()
    }
}

/// The growth of a counter from one sample to the next, per second.
fn growth(
    run: &Document,
    timeline: &Timeline,
    counter: impl Fn(&Sample) -> Option<f64>,
) -> Vec<Option<f64>> {
    let reading = |pair: &[Sample]| {
        let [from, to] = pair else { return None };
        let (from_s, to_s) = (timeline.at_s(from)?, timeline.at_s(to)?);
        let grown = (counter(to)? - counter(from)?).max(0.0);
        let seconds = to_s - from_s;
        (seconds > 0.0).then(|| Reading {
            at_s: (from_s + to_s) / 2.0,
            weight: seconds,
            value: grown / seconds,
        })
    };
    timeline.means(&run.samples.points.windows(2).filter_map(reading).collect::<Vec<_>>())
}

/// The mean of a value that is a level, not a counter.
fn level(
    run: &Document,
    timeline: &Timeline,
    value: impl Fn(&Sample) -> Option<f64>,
) -> Vec<Option<f64>> {
    let at = |sample: &Sample| Some(instant(timeline.at_s(sample)?, value(sample)?));
    timeline.means(&run.samples.points.iter().filter_map(at).collect::<Vec<_>>())
}

fn instant(at_s: f64, value: f64) -> Reading {
    Reading { at_s, weight: 1.0, value }
}

fn line(name: &str, values: Vec<Option<f64>>) -> Line {
    Line { name: name.to_owned(), values }
}

/// The most threads with a colour of their own.
const THREADS_MAX: usize = 6;
/// The smallest share of the total CPU time for a thread to get its own colour.
const SHARE_MIN: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::fixtures;

    fn line_of(id: &str, at: usize) -> Line {
        let run = fixtures::document();
        let all = all(&run, &Timeline::of(&run));
        all.into_iter().find(|series| series.id == id).unwrap().lines.swap_remove(at)
    }

    #[test]
    fn counters_become_rates_and_levels_stay() {
        assert_eq!(line_of("received", 0).values[0], Some(60_000.0));
        assert_eq!(line_of("memory", 0).values[3], Some(14_000_000.0));
        let waited = line_of("switches", 0);
        assert_eq!((waited.name.as_str(), waited.values[3]), ("waited", Some(100.0)));
    }

    #[test]
    fn threads_and_the_rest_are_the_whole() {
        let names: Vec<_> = (0..3).map(|at| line_of("cpu", at).name).collect();
        assert_eq!(names, ["gridcast", "core-0", "others"]);
        let at = |line| line_of("cpu", line).values[3].unwrap();
        assert!((at(2) - 0.05).abs() < 1e-6 && (at(1) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_process_that_was_not_watched_has_no_values() {
        let mut run = fixtures::document();
        run.samples.points.iter_mut().for_each(|sample| {
            sample.server = None;
            sample.server_threads.clear();
        });
        let cpu = cpu(&run, &Timeline::of(&run));
        assert!(cpu.note.contains("could not be watched"));
        assert!(cpu.lines.iter().all(|line| line.values.iter().all(Option::is_none)));
    }

    #[test]
    fn loss_is_counted_in_its_column() {
        let mut run = fixtures::document();
        (run.windows[4].missing, run.windows[5].gaps) = (7, 2);
        let loss = loss(&run, &Timeline::of(&run));
        assert_eq!((loss.lines[0].values[4], loss.lines[1].values[5]), (Some(7.0), Some(2.0)));
        assert!(loss.note.starts_with("When a subscriber"));
    }
}
