"""Reads the records under results/: their names, the runs in their archives, and whether gridload
called a run valid. Must not know which of them a document quotes."""

import json
import re
import tarfile
import tomllib
from functools import cache, cached_property
from pathlib import Path

NAMED = re.compile(r"(?P<subject>[a-z]+)-(?P<date>\d{4}-\d{2}-\d{2})(?P<rest>-[a-z-]+)?")


class Record:
    """A directory of results/, named <subject>-<date>."""

    def __init__(self, path):
        self.path = Path(path)
        self.name = self.path.name
        named = NAMED.fullmatch(self.name)
        if not named:
            raise ValueError(f"{self.path}: a record is called <subject>-<date>")
        self.subject, self.date = named["subject"], named["date"]

    @cached_property
    def runs(self):
        """Every run.json of the archives, by the name of the run."""
        return {name: run for archive in sorted(self.path.glob("*.tar.xz"))
                for name, run in runs_in(archive.resolve()).items()}

    def json(self, name):
        """A summary that the script wrote beside the archives."""
        return json.loads((self.path / name).read_text())


@cache
def runs_in(archive):
    """Each run.json of an archive, by the name of its run. An archive is read once."""
    with tarfile.open(archive) as packed:
        return {Path(member.name).parent.name: json.load(packed.extractfile(member))
                for member in packed if member.name.endswith("/run.json")}


def is_valid(run):
    """Whether all of gridload's own gates held: generator and host were able to measure."""
    return run["health"]["valid"]


def current(results):
    """The records that are kept whole, by name; one a subject."""
    paths = [path for path in sorted(Path(results).iterdir())
             if path.is_dir() and path.name not in ("superseded", "latest")]
    return {record.name: record for record in map(Record, paths)}


def superseded(results):
    """Names of the records of which only the README is kept."""
    return sorted(path.stem for path in (Path(results) / "superseded").glob("*.md"))


def subjects(results):
    """What each subject is about, and the script that records it."""
    return tomllib.loads((Path(results) / "subjects.toml").read_text())
