"""What the scripts in this directory share: building, an engine of one's own, its metrics and
memory, and how a script says that it was skipped. Must not know what any of them checks."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# The exit code of a script that could not run for want of something it names.
SKIPPED = 77
START_S = 20


def skip(reason):
    """Ends the script as skipped: neither passed nor failed."""
    print(f"{Path(sys.argv[0]).name}: SKIPPED: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)


def run(*command, **options):
    """Runs a command and ends the script where it fails."""
    done = subprocess.run([str(part) for part in command], check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}")
    return done


def installs(*command, **options):
    """Runs a package manager; false, with its complaint on the terminal, where that fails: then
    something that is needed is not to be had."""
    return subprocess.run([str(part) for part in command], check=False, **options).returncode == 0


def apt_get(command, *arguments, **options):
    """Has apt-get do something, once more with lists of today where it fails with those that are
    there. Quietly: what is lacking afterwards is named by who asked for it."""
    def succeeds(*words, **where):
        return installs("apt-get", "-qq", "-y", *words, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, **where)
    return succeeds(command, *arguments, **options) or (
        succeeds("update") and succeeds(command, *arguments, **options))


def cargo_install(package, root):
    """Has cargo build a program of crates.io into `root`, unless it did; without optimising, which
    is most of the work."""
    # Apart from what the workspace has built, whose dependencies have other features.
    return installs("cargo", "install", "--quiet", "--locked", "--debug", "--root", root,
                    "--target-dir", root / "build", package)


def build(*packages, profile="release"):
    """Builds the programs of `packages`; the directory they are in."""
    # Always both: alone, each would have its dependencies with other features, built once more.
    both = dict.fromkeys(("gridcast", "gridload", *packages))
    flags = [flag for package in both for flag in ("-p", package)]
    run("cargo", "build", "--bins", "--profile", "dev" if profile == "debug" else profile, *flags,
        cwd=ROOT)
    return TARGET / profile


def add_build_options(parser):
    """`--profile` and `--no-build`, the same in every script."""
    parser.add_argument("--profile", default="release", choices=["debug", "release"],
                        help="build of the programs [default: release]")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")


def programs(options, *packages):
    """The directory of the programs, built unless told otherwise."""
    return TARGET / options.profile if options.no_build else build(*packages,
                                                                   profile=options.profile)


def free_port(host="127.0.0.1"):
    """A port that nobody listens on yet, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Engine:
    """An engine of one's own on a free port, from entering to leaving a `with`."""

    def __init__(self, binaries, log, *settings, cores=1, cpus=None, host="127.0.0.1"):
        self.log, self.cpus, self.host = Path(log), cpus, host
        self.command = [str(binaries / "gridcast"), "--listen", f"{host}:0", "--cores",
                        str(cores), *(flag for setting in settings for flag in ("--set", setting))]
        self.process = self.port = None

    def __enter__(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stderr=log, preexec_fn=on(self.cpus))
        try:
            self.port = int(wait_for(self._listening, "the engine to listen", START_S)[1])
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(START_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def _listening(self):
        if self.process.poll() is not None:
            sys.exit(f"the engine ended at once (exit {self.process.returncode}):\n"
                     + self.log.read_text())
        return re.search(rf"listening.*address={re.escape(self.host)}:(\d+)",
                         self.log.read_text())

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self):
        return f"ws://{self.host}:{self.port}"

    def metrics(self):
        """Every series with its value; nothing while the engine cannot be asked."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def connections(self):
        """Open connections but the one that asks."""
        return sum(value for name, value in self.metrics().items()
                   if name.startswith("gridcast_connections{")) - 1

    def rss_bytes(self):
        """Memory in use; 0 when the engine is gone."""
        return self._memory_bytes("VmRSS")

    def own_bytes(self):
        """Memory that is its own, without pages of the program and its libraries: those count once
        they are touched, and the kernel takes them back when it likes; 0 when it is gone."""
        return self._memory_bytes("RssAnon") + self._memory_bytes("RssShmem")

    def peak_bytes(self):
        """The most memory that was ever in use; 0 when the engine is gone."""
        return self._memory_bytes("VmHWM")

    def _memory_bytes(self, word):
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(rf"{word}:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0

    def cpu_s(self):
        """CPU time that it has taken so far; 0 when it is gone."""
        try:
            # The name of the program stands in parentheses, and may hold anything.
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def complaints(self):
        """Lines of the log that tell of an error or a panic."""
        bad = re.compile(r"\bERROR\b|panicked at")
        return [line for line in self.log.read_text().splitlines() if bad.search(line)]


def on(cpus, only_idle=False):
    """For `preexec_fn`: a program on these CPUs; or, besides, only when nobody else wants them."""
    def prepare():
        if cpus:
            os.sched_setaffinity(0, cpus)
        if only_idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return prepare


def pack(directory):
    """Replaces a directory by an archive beside it: text of many runs, which repeats itself."""
    with tarfile.open(directory.with_suffix(".tar.xz"), "w:xz") as archive:
        archive.add(directory, directory.name)
    shutil.rmtree(directory)


def wait_for(condition, what, seconds):
    """What `condition` answers once that is true; the script ends when it does not become so."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            sys.exit(f"waited {seconds} s for {what}")
        time.sleep(0.05)
    return answer


# The last is the name of the third in results of older versions.
MISSING = ["lost", "undelivered", "undelivered_after_close", "lost_after_close"]


def lost(run_json):
    """Frames that healthy subscribers of a gridload run did not get."""
    return sum(one.get(key, 0) for one in healthy(run_json) for key in MISSING)


def healthy(run_json):
    """The classes of subscribers that shall get everything."""
    return [one for one in run_json["totals"]["classes"] if one["kind"] == "healthy"]
