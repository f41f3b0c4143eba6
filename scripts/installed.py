"""What holds of the packages once they are installed: in a clean Debian without a service manager,
by dpkg and by rpm, and in one that systemd has booted. Must not make trees or packages."""

import contextlib
import os
import re
import subprocess
import urllib.request

import support
import trees
from artifacts import PROGRAMS, Failed, output, package

SETTINGS = "etc/gridcast/gridcast.toml"
UNIT = "gridcast.service"
DROP_IN = "/usr/share/gridcast/systemd/hot-restart.conf"
ANSWER_S = 10
# An edit that has to outlive an upgrade.
EDIT = "\n# edited\n"
# What useradd keeps of the files that it has changed.
BACKUPS = {"etc/.pwd.lock", *(f"etc/{name}-" for name in ("group", "gshadow", "passwd", "shadow"))}
# On Fedora they belong to other packages.
OF_OTHERS = {"usr/lib/sysusers.d", "usr/share/fish", "usr/share/fish/vendor_completions.d",
             "usr/share/licenses", "usr/share/zsh", "usr/share/zsh/site-functions"}
# As rpm says that a group is not that of the package: the user is made by a script after it.
OTHER_GROUP = {"......G..    /etc/gridcast", "......G..  c /etc/gridcast/gridcast.toml"}


def by_dpkg(program, _):
    """the Debian packages install in a clean Debian, run there, and nothing stays when purged"""
    with trees.tree(trees.PLAIN) as root:
        before = root.files()
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends"]
        packages = put("deb", program, root)
        root.run(*install, *packages)
        root.run("dpkg", "--verify")
        check_use(root)
        append(root, EDIT)
        root.run(*install, "--reinstall", *packages)
        check_edit(root, SETTINGS)
        root.run("apt-get", "remove", "-qq", "-y", *PROGRAMS)
        check_left(root, before, {"etc/gridcast", SETTINGS})
        # Of the other, which has no settings, nothing is known any more.
        root.run("dpkg", "--purge", "gridcast")
        check_left(root, before, set())


def by_rpm(program, _):
    """the RPM packages install in a root of their own, run there, and leave what was edited"""
    with trees.tree(trees.PLAIN) as root:
        before = root.files()
        # The root is one of Debian: rpm knows none of the libraries in it.
        rpm = ["rpm", "--root", root.path, "--dbpath", "/var/lib/rpm", "--force-debian"]
        packages = [root.path / path[1:] for path in put("rpm", program, root)]
        output(*rpm, "--install", "--nodeps", *packages)
        differs = subprocess.run([*map(str, rpm), "--verify", "--nodeps", *PROGRAMS], check=False,
                                 text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if odd := set(differs.stdout.splitlines()) - OTHER_GROUP:
            raise Failed(f"rpm --verify: {odd}")
        check_use(root)
        append(root, EDIT)
        output(*rpm, "--upgrade", "--nodeps", "--replacepkgs", *packages)
        check_edit(root, SETTINGS)
        output(*rpm, "--erase", *PROGRAMS)
        saved = f"{SETTINGS}.rpmsave"
        check_edit(root, saved)
        check_left(root, before, {"etc/gridcast", saved, *OF_OTHERS})


def put(kind, program, root):
    """Packages of both programs in a root, and their paths there."""
    made = [package(kind, program.with_name(name), root.path / "opt") for name in PROGRAMS]
    return [f"/opt/{path.name}" for path in made]


def append(root, text):
    with (root.path / SETTINGS).open("a") as file:
        file.write(text)


def check_edit(root, path):
    if not (root.path / path).read_text().endswith(EDIT):
        raise Failed(f"{path}: what was edited is lost")


def check_left(root, before, expected):
    left = {path for path in root.files() - before - BACKUPS if not path.startswith("opt/")}
    if left != expected:
        raise Failed(f"left behind: {sorted(left)}; expected: {sorted(expected)}")


def check_use(root):
    """That it can be used: by its user, with the settings of the package, and that what is to be
    read about it is found."""
    for path in ("/etc/gridcast", f"/{SETTINGS}"):
        if (group := root.run("stat", "--format=%U:%G", path).strip()) != "root:gridcast":
            raise Failed(f"{path} is of {group}")
    check_serves(root)
    root.run("gridload", "--version")
    for page in (*PROGRAMS, "gridcast-config", "gridcast-sub"):
        root.run("man", "--where", page)
    for program in PROGRAMS:
        root.run("bash", "-c", ". /usr/share/bash-completion/bash_completion; "
                 f"_completion_loader {program}; complete -p {program}")


def check_serves(root):
    engine = support.Engine(root.path, root.path / "opt" / "engine.log")
    engine.command = [*root.enter("gridcast"), "/usr/bin/gridcast", "--config", f"/{SETTINGS}",
                      "--listen", "127.0.0.1:0", "--cores", "1"]
    with engine:
        urllib.request.urlopen(f"{engine.url}/healthz", timeout=ANSWER_S).close()
        user = root.run("id", "--user", "gridcast").strip()
        if str(os.stat(f"/proc/{engine.pid}").st_uid) != user:
            raise Failed(f"the program is not run by user {user}")
        if said := engine.complaints():
            raise Failed("; ".join(said))


def booted(program, _):
    """systemd runs the unit, reloads it, restarts it hot, and stops it when it is removed"""
    with trees.tree(trees.SYSTEMD) as root:
        packages = put("deb", program, root)
        with trees.Booted(root.path) as system:
            system.run("dpkg", "--install", *packages)
            if shown(system, "ActiveState") != "inactive":
                raise Failed("installing has started it")
            system.run("systemctl", "enable", "--now", UNIT)
            check_reload(system)
            check_hot_restart(system)
            check_failing_reload(system)
            check_supervision(system)
            system.run("dpkg", "--remove", "gridcast")
            if shown(system, "ActiveState") != "inactive":
                raise Failed("it runs on although the package is removed")


def shown(system, property_):
    return system.run("systemctl", "show", "--property", property_, "--value", UNIT).strip()


def log(system):
    return system.run("journalctl", "--unit", UNIT, "--output", "cat", "--no-pager")


def check_reload(system):
    pid = running(system)
    system.run("systemctl", "reload", UNIT)
    support.wait_for(lambda: "settings read again" in log(system), "a reload", ANSWER_S)
    if running(system) != pid:
        raise Failed("a reload has restarted it")


def running(system):
    """The main process of the unit, which must run."""
    state = shown(system, "ActiveState"), shown(system, "SubState")
    if state != ("active", "running"):
        raise Failed(f"the unit is {' '.join(state)}:\n{log(system)[-2000:]}")
    return shown(system, "MainPID")


def check_hot_restart(system):
    """As docs/hot-restart.md says; and somebody who follows meanwhile notices nothing."""
    system.run("install", "-D", "-m", "644", DROP_IN,
               "/etc/systemd/system/gridcast.service.d/hot-restart.conf")
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "restart", UNIT)
    before = running(system)
    with follower(system) as follows:
        support.wait_for(lambda: followers(system) == 1, "a follower", ANSWER_S)
        system.run("systemctl", "reload", UNIT)
        if running(system) == before:
            raise Failed(f"no other process runs:\n{log(system)[-2000:]}")
        if followers(system) != 1:
            raise Failed("whoever follows was not handed over")
        try:
            told, _ = follows.communicate(timeout=ANSWER_S)
        except subprocess.TimeoutExpired:
            raise Failed("whoever follows was told nothing more") from None
    if [line for line in told.splitlines() if '"data":1' not in line] or told.count("\n") != 2:
        raise Failed(f"who follows was told: {told}")
    if shown(system, "NRestarts") != "0":
        raise Failed("systemd has restarted it")


@contextlib.contextmanager
def follower(system):
    """One who ends with the second message, or with the `with`."""
    command = [*system.enter(), "gridcast", "sub", "a", "--count", "2"]
    with subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def followers(system):
    """Publishes, and answers how many there are who get it."""
    return int(system.run("gridcast", "pub", "a", "1").split()[1])


def check_failing_reload(system):
    """That the old process goes on where the new one ends."""
    before = running(system)
    settings = system.path / SETTINGS
    right = settings.read_text()
    settings.write_text(f"{right}\n[drain]\nwrong = 1\n")
    system.run("systemctl", "reload", UNIT)
    settings.write_text(right)
    if running(system) != before:
        raise Failed("wrong settings are in force")
    if not re.search("has ended: this one stays", log(system)):
        raise Failed(f"the log does not say that it failed:\n{log(system)[-2000:]}")


def check_supervision(system):
    """That the process which has taken over is started anew when it is killed, as any other."""
    before = running(system)
    system.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT)
    support.wait_for(lambda: shown(system, "NRestarts") == "1", "a new start", ANSWER_S)
    support.wait_for(lambda: shown(system, "SubState") == "running", "it to run", ANSWER_S)
    if running(system) == before:
        raise Failed("it was not started anew")
