"""Roots of a Debian of their own: made once, copied for each use, commands run in them, and systemd
booted in one. Must not know what is tried in them."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import support
from artifacts import WORK, Failed, find, output

SUITE = "bookworm"
# The tree without a service manager, and with one.
PLAIN, SYSTEMD = "plain", "systemd"
# What reads manual pages and completions.
READERS = ["bash-completion", "man-db"]
TREES = WORK / "trees"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive"}
MADE_IN_S = 600
BOOTED_IN_S = 90
# Where there is no room for a second root, none of it is left mounted: the mounts are of a
# namespace of its own. The cgroup is below that of the caller.
BOOT = r"""
set -e
root=$1 group=$2
mount --make-rprivate /
mkdir -p "$root/run/cgroups"
mount -t cgroup2 none "$root/run/cgroups"
mkdir "$root/run/cgroups/$group"
echo $$ > "$root/run/cgroups/$group/cgroup.procs"
exec unshare --cgroup --pid --fork --kill-child --net --ipc --uts sh -ec '
root=$1
umount "$root/run/cgroups"
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
pivot_root . .
umount -l .
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=basic.target --show-status=no --log-target=null
' sh "$root"
"""


def lacking():
    """What is missing for a tree to be made or used."""
    lacks = [name for name in ("debootstrap", "chroot") if not find(name)]
    lacks += ["root"] if os.geteuid() != 0 else []
    return lacks or [f"tree of Debian `{name}`" for name in (PLAIN, SYSTEMD)
                     if not (TREES / name).exists()]


def lacking_to_boot():
    """What is missing for systemd to be started, in namespaces and a cgroup of its own."""
    if lacks := [name for name in ("unshare", "nsenter") if not find(name)]:
        return lacks
    script = ('mkdir "/mnt/$0" && rmdir "/mnt/$0" && '
              'exec unshare --cgroup --pid --fork --net --ipc --uts true')
    return [] if beside_cgroups(script) else ["namespaces and cgroups (a privileged container)"]


def beside_cgroups(script):
    """Whether a script succeeds that has the hierarchy of cgroups at /mnt, for itself, and as its
    name that of the group."""
    mounted = f"mount --make-rprivate / && mount -t cgroup2 none /mnt && {script}"
    return subprocess.run([find("unshare"), "--mount", "sh", "-c", mounted, group_name()],
                          check=False, stderr=subprocess.DEVNULL).returncode == 0


def make():
    """Makes both trees, unless they are there; what is not to be had is said on the terminal."""
    if os.geteuid() != 0 or not find("debootstrap"):
        return
    TREES.mkdir(parents=True, exist_ok=True)
    make_one(PLAIN, bootstrap)
    make_one(SYSTEMD, add_systemd)


def make_one(name, fill):
    """Whole, or not at all."""
    unfinished = TREES / f"{name}.unfinished"
    if (TREES / name).exists():
        return
    remove(unfinished)
    if fill(unfinished):
        unfinished.rename(TREES / name)


def bootstrap(tree):
    return support.installs(find("debootstrap"), "--variant=minbase",
                            f"--include={','.join(READERS)}", SUITE, tree,
                            stdout=subprocess.DEVNULL)


def add_systemd(tree):
    if not (TREES / PLAIN).exists():
        return False
    copy(TREES / PLAIN, tree)
    shutil.copy("/etc/resolv.conf", tree / "etc" / "resolv.conf")
    apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    return all(support.installs(find("chroot"), tree, *apt, *command, env=ENVIRONMENT,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for command in (["update"],
                               ["install", "-y", "--no-install-recommends", "systemd"]))


def copy(source, target):
    output("cp", "--archive", "--reflink=auto", source, target)


def remove(tree):
    """With what is strange in it, but nothing that is mounted."""
    if tree.exists():
        output("rm", "--recursive", "--one-file-system", tree)


@contextlib.contextmanager
def tree(name):
    """A copy of a tree, for as long as a `with`."""
    for old in TREES.glob(f"{name}.*"):
        # Of a process that was killed.
        if not Path(f"/proc/{old.suffix[1:]}").exists():
            remove(old)
    path = TREES / f"{name}.{os.getpid()}"
    copy(TREES / name, path)
    try:
        yield Root(path)
    finally:
        remove(path)


class Root:
    """A tree in which commands are run. Its processes are those of the machine."""

    def __init__(self, path):
        self.path = path

    def run(self, *command, user=None):
        """What a command prints; it must succeed."""
        return told([*self.enter(user), *command])

    def enter(self, user=None):
        """What to put before a command."""
        flags = [f"--userspec={user}:{user}"] if user else []
        return [find("chroot"), *flags, str(self.path)]

    def files(self):
        """Every file and directory but what package managers and the system keep of their own."""
        own = ("var/lib/dpkg", "var/lib/apt", "var/lib/rpm", "var/log", "var/cache", "tmp", "run",
               "proc", "sys", "dev")
        paths = (path.relative_to(self.path) for path in self.path.rglob("*"))
        return {str(path) for path in paths if not str(path).startswith(own)}


class Booted(Root):
    """A tree that systemd has started, from entering to leaving a `with`: its processes, network
    and mounts are its own."""

    def __init__(self, path):
        super().__init__(path)
        self.process = self.pid = None

    def __enter__(self):
        self.process = subprocess.Popen(
            [find("unshare"), "--mount", "sh", "-c", BOOT, "sh", str(self.path), group_name()],
            stdin=subprocess.DEVNULL)
        try:
            self.pid = support.wait_for(self._first, "systemd to be started", BOOTED_IN_S)
            support.wait_for(self._is_up, "systemd to be up", BOOTED_IN_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # With the first process of its namespace the kernel ends all others in it.
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        support.wait_for(self._has_no_group, "the cgroup to be empty", BOOTED_IN_S)

    def enter(self, user=None):
        return [find("nsenter"), "--target", str(self.pid), "--all", "--root", "--wd", "env",
                *(f"{key}={value}" for key, value in ENVIRONMENT.items())]

    def _first(self):
        """The first process of the tree, once it is systemd."""
        if self.process.poll() is not None:
            raise Failed(f"systemd cannot be started here: exit {self.process.returncode}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return int(pid)
        return None

    def _is_up(self):
        done = subprocess.run([*self.enter(), "systemctl", "is-active", "basic.target"],
                              check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def _has_no_group(self):
        return beside_cgroups('cd /mnt && { ! [ -d "$0" ] || '
                              'find "$0" -depth -type d -exec rmdir {} +; }')


def group_name():
    return f"gridcast-packages-{os.getpid()}"


def told(command):
    done = subprocess.run([str(part) for part in command], check=False, text=True, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=MADE_IN_S)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command[-3:]))}: exit {done.returncode}: "
                     f"{done.stdout.strip()[-2000:]}")
    return done.stdout
