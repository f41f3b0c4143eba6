//! Runs on disk: which files a side of a comparison names, what each run states, and whether runs
//! of both sides are comparable. Must not compute anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::result::record::{RUN_FILE, SCHEMA_VERSION};

/// One run on disk.
#[derive(Debug, Clone)]
pub struct RunFile {
    /// The path it was read from.
    pub path: PathBuf,
    /// All of `run.json`.
    pub run: Value,
}

/// Why runs cannot be compared.
#[derive(Debug, Error)]
pub enum RunFileError {
    /// The file does not exist or cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// The file was not written by gridload.
    #[error("{}: no run.json that this version reads: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: String,
    },
    /// The directory holds no run.
    #[error("{}: no run.json in it, nor in a directory in it", .0.display())]
    Empty(PathBuf),
    /// There are more runs than can be compared exactly.
    #[error("{}: {found} runs; compare at most {RUNS_MAX} a side", path.display())]
    TooMany {
        /// The path.
        path: PathBuf,
        /// The number of runs.
        found: usize,
    },
    /// The runs have different scenarios.
    #[error(
        "{} and {} did not run the same scenario: `{key}` differs",
        base.display(),
        cand.display()
    )]
    Scenario {
        /// A run of one side.
        base: PathBuf,
        /// A run of the other.
        cand: PathBuf,
        /// The first key that differs.
        key: String,
    },
    /// The runs are of different hosts.
    #[error(
        "{} and {} are of different hosts: their ratio says nothing of the server. \
         Run both on one host, or compare all the same with --host-mismatch",
        base.display(),
        cand.display()
    )]
    Host {
        /// A run of one side.
        base: PathBuf,
        /// A run of the other.
        cand: PathBuf,
    },
    /// Kernel counters ran in only one of the runs, and counting costs the server CPU time.
    #[error(
        "of {} the kernel counted {}, of {} {}: counting costs the server CPU time. \
         Run both with --count, or both without",
        base.display(),
        listed(base_counted),
        cand.display(),
        listed(cand_counted)
    )]
    Counted {
        /// A run of one side.
        base: PathBuf,
        /// The kernel counters of that run.
        base_counted: Vec<String>,
        /// A run of the other.
        cand: PathBuf,
        /// The kernel counters of that run.
        cand_counted: Vec<String>,
    },
}

fn listed(counted: &[String]) -> String {
    if counted.is_empty() { "nothing".to_owned() } else { counted.join(" and ") }
}

impl RunFile {
    /// The runs that `path` names: a `run.json`, a result directory, or a directory of result
    /// directories; sorted by name.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn all(path: &Path) -> Result<Vec<RunFile>, RunFileError> {
        let files = files(path).map_err(|cause| unreadable(path, cause))?;
        if files.is_empty() {
            return Err(RunFileError::Empty(path.to_owned()));
        }
        if files.len() > RUNS_MAX {
            return Err(RunFileError::TooMany { path: path.to_owned(), found: files.len() });
        }
        files.into_iter().map(RunFile::read).collect()
    }

    /// Reads one `run.json`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: PathBuf) -> Result<RunFile, RunFileError> {
        let text = fs::read_to_string(&path).map_err(|cause| unreadable(&path, cause))?;
        let malformed = |cause: String| RunFileError::Malformed { path: path.clone(), cause };
        let run: Value =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        match run["schema_version"].as_u64() {
            Some(version) if version == u64::from(SCHEMA_VERSION) => Ok(RunFile { path, run }),
            Some(version) => Err(malformed(format!("schema_version {version}"))),
            None => Err(malformed("no schema_version".to_owned())),
        }
    }

    /// Whether its numbers are valid.
    pub fn is_valid(&self) -> bool {
        self.run["health"]["valid"] == true
    }

    /// The host it was measured on.
    pub fn host_fingerprint(&self) -> &str {
        self.run["env"]["host_fingerprint"].as_str().unwrap_or_default()
    }

    /// The kernel counters that ran.
    pub fn counted(&self) -> Vec<String> {
        let counted = self.run["server"]["kernel"]["counted"].as_object();
        counted.into_iter().flat_map(|counted| counted.keys().cloned()).collect()
    }

    /// The requested kernel counters that are missing, each with the reason.
    pub fn uncounted(&self) -> Vec<String> {
        let missing = self.run["server"]["kernel"]["missing"].as_object();
        let line = |(what, reason): (&String, &Value)| {
            format!("{what}: {}", reason.as_str().unwrap_or_default())
        };
        missing.into_iter().flatten().map(line).collect()
    }

    /// Whether this run and one of the other side used the same scenario, host and method.
    ///
    /// # Errors
    /// The first difference.
    pub fn comparable(&self, other: &RunFile, any_host: bool) -> Result<(), RunFileError> {
        let (base, cand) = (self.path.clone(), other.path.clone());
        let (own, others) = (&self.run["scenario"], &other.run["scenario"]);
        if let Some(key) = difference("", own, others) {
            return Err(RunFileError::Scenario { base, cand, key });
        }
        if !any_host && self.host_fingerprint() != other.host_fingerprint() {
            return Err(RunFileError::Host { base, cand });
        }
        let (base_counted, cand_counted) = (self.counted(), other.counted());
        if base_counted != cand_counted {
            return Err(RunFileError::Counted { base, base_counted, cand, cand_counted });
        }
        Ok(())
    }
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let own = path.join(RUN_FILE);
    if own.exists() {
        return Ok(vec![own]);
    }
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path().join(RUN_FILE)));
    let mut found: Vec<_> = entries.collect::<io::Result<_>>()?;
    found.retain(|file| file.exists());
    found.sort();
    Ok(found)
}

fn unreadable(path: &Path, cause: io::Error) -> RunFileError {
    RunFileError::Unreadable { path: path.to_owned(), cause }
}

/// The path of the first key in which two scenarios differ. Servers may differ, because they are
/// compared, and so may seeds.
fn difference(key: &str, own: &Value, other: &Value) -> Option<String> {
    match (own, other) {
        (Value::Object(own), Value::Object(other)) => own
            .keys()
            .chain(other.keys().filter(|key| !own.contains_key(*key)))
            .filter(|name| !key.is_empty() || !matches!(name.as_str(), "seed" | "target"))
            .find_map(|name| {
                let (own, other) = (own.get(name), other.get(name));
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                difference(&key, own.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null))
            }),
        (Value::Array(own), Value::Array(other)) if own.len() == other.len() => {
            let members = own.iter().zip(other).enumerate();
            members
                .filter_map(|(at, (own, other))| difference(&format!("{key}.{at}"), own, other))
                .next()
        }
        _ => (own != other).then(|| key.to_owned()),
    }
}

/// The most runs per side: the exact distribution of more takes noticeable time.
pub const RUNS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(scenario: &Value, host: &str) -> RunFile {
        let run = json!({"scenario": scenario, "env": {"host_fingerprint": host}});
        RunFile { path: PathBuf::from("run.json"), run }
    }

    #[test]
    fn only_the_same_question_on_the_same_host_is_comparable() {
        let scenario =
            |count: u64, seed: u64| json!({"seed": seed, "publishers": [{"count": count}]});
        let base = run(&scenario(3, 1), "a");
        assert!(base.comparable(&run(&scenario(3, 2), "a"), false).is_ok());
        let error = base.comparable(&run(&scenario(4, 1), "a"), false).unwrap_err();
        assert!(error.to_string().contains("`publishers.0.count` differs"), "{error}");
        let error = base.comparable(&run(&scenario(3, 1), "b"), false).unwrap_err();
        assert!(error.to_string().contains("--host-mismatch"), "{error}");
        assert!(base.comparable(&run(&scenario(3, 1), "b"), true).is_ok());
    }

    #[test]
    fn runs_that_were_counted_are_comparable_among_each_other_only() {
        let plain = run(&json!({}), "a");
        let with = |counted: Value| {
            let mut run = plain.clone();
            let missing = json!({"syscalls": "be root"});
            run.run["server"]["kernel"] = json!({"counted": counted, "missing": missing});
            run
        };
        let counted = with(json!({"syscalls": 7}));
        assert!(counted.comparable(&with(json!({"syscalls": 9})), false).is_ok());
        let refused = with(json!({}));
        assert!(plain.comparable(&refused, false).is_ok(), "asked for, and not to be had");
        assert_eq!(refused.uncounted(), ["syscalls: be root"]);
        assert!(plain.uncounted().is_empty());
        let error = plain.comparable(&counted, true).unwrap_err().to_string();
        for part in ["counted nothing", "run.json syscalls", "or both without"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_side_is_a_file_a_result_or_a_directory_of_results() {
        let root = tempfile::tempdir().unwrap();
        let error = RunFile::all(root.path()).unwrap_err();
        assert!(error.to_string().contains("no run.json in it"), "{error}");
        for name in ["b", "a"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join(RUN_FILE), r#"{"schema_version":1}"#).unwrap();
        }
        let found = RunFile::all(root.path()).unwrap();
        assert!(found[0].path.ends_with("a/run.json") && found[1].path.ends_with("b/run.json"));
        assert_eq!(RunFile::all(&root.path().join("a")).unwrap().len(), 1);
        assert_eq!(RunFile::all(&root.path().join("a/run.json")).unwrap().len(), 1);
        assert!(!found[0].is_valid());
    }

    #[test]
    fn what_gridload_did_not_write_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(RUN_FILE);
        for (text, cause) in
            [("{", "EOF"), ("{}", "no schema_version"), (r#"{"schema_version":9}"#, "version 9")]
        {
            fs::write(&file, text).unwrap();
            let error = RunFile::all(root.path()).unwrap_err().to_string();
            assert!(error.contains("run.json") && error.contains(cause), "{error}");
        }
    }
}
