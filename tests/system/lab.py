"""Machines for the stories: a whole Debian with its own systemd as process 1, on any Debian host and as root.

A tree of each release is built once. A machine is an overlay over that tree, in memory, booted by systemd-nspawn in
namespaces of its own; its network is 127.0.0.1 and nothing else. Whatever ends this program ends the machine, too.
"""

import fcntl
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent

SUITES = ("bookworm", "trixie")

# Where trees are kept between runs.
CACHE = Path("/var/tmp/jimengd-lab")

# What is in a tree: systemd, users' own managers, what the package depends on, and what a story's commands need.
TREE_PACKAGES = (
    "acl", "ca-certificates", "dbus", "dbus-user-session", "libpam-systemd", "procps", "sudo", "systemd",
    "systemd-sysv",
)

# Programs that the host must have, and the packages that bring them.
HOST_PROGRAMS = {
    "systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "unshare": "util-linux", "nsenter": "util-linux",
    "setpriv": "util-linux", "mount": "mount", "ip": "iproute2", "dpkg-deb": "dpkg",
}

# Beginnings of what a run makes on the host, so that a later run knows it.
FOLDER_PREFIX = "jimengd-lab."
CGROUP_PREFIX = "jimengd-lab-"

# A command that enters a machine keeps the host's capabilities. Without these it can set neither the host's clock nor
# its kernel's settings.
DROPPED_CAPABILITIES = ",".join(
    "-" + name
    for name in (
        "sys_time", "sys_module", "sys_rawio", "syslog", "wake_alarm", "block_suspend", "mac_admin", "mac_override",
        "linux_immutable",
    )
)

# Whoever asks the machine's services must be in a control group that they can see.
JOIN = 'mkdir -p /sys/fs/cgroup/lab && echo $$ >/sys/fs/cgroup/lab/cgroup.procs && exec "$@"'

BOOT_SECONDS = 60
OFF_SECONDS = 60
COMMAND_SECONDS = 120
LOOK_EVERY = 0.1

Fact = TypeVar("Fact")


class Wrong(Exception):
    """Something is not as it must be; the text says what."""


def until(what: str, fact: Callable[[], Fact], seconds: float = 60) -> Fact:
    """Waits for `fact` to be true and returns it; `what` says what is awaited."""
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Wrong(f"waited {seconds} s in vain for {what}")
        time.sleep(LOOK_EVERY)


def install_missing() -> None:
    """Installs the host's programs that are missing, and knows where packages come from."""
    missing = sorted({package for program, package in HOST_PROGRAMS.items() if not shutil.which(program)})
    if missing:
        print(f"installing {' '.join(missing)}", flush=True)
        apt_get("update")
        apt_get("install", "--yes", "--no-install-recommends", *missing)


def apt_get(*words: str) -> None:
    """Runs apt-get on the host; its words are shown when it fails."""
    command = ["apt-get", "--quiet=2", "--option=DPkg::Lock::Timeout=300", *words]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def mirror() -> str:
    """The mirror that apt uses for this host's own release."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    if not codename:
        raise Wrong("/etc/os-release names no release: this host is no Debian")
    # Without lists apt names nothing.
    for attempt in range(2):
        words = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
        for line in subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines():
            name, _, address = line.partition(" ")
            if name == codename[1]:
                return address
        if attempt == 0:
            apt_get("update")
    raise Wrong(f"apt names no mirror of {codename[1]}")


def tree(suite: str) -> Path:
    """The tree of a release, built if there is none of these packages."""
    wanted = " ".join(TREE_PACKAGES) + "\n"
    folder, mark = CACHE / suite, CACHE / f"{suite}.ok"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Another run may be at it.
    with open(CACHE / f"{suite}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists() and mark.read_text() == wanted:
            return folder
        mark.unlink(missing_ok=True)
        part = CACHE / f"{suite}.part"
        for old in (folder, part):
            shutil.rmtree(old, ignore_errors=True)
        include = "--include=" + ",".join(TREE_PACKAGES)
        command = ["mmdebstrap", "--quiet", "--variant=minbase", include, suite, str(part), mirror()]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as process:
            words = process.communicate()[0]
        if process.returncode:
            raise Wrong(f"{' '.join(command)}: {words[-3000:]}")
        part.rename(folder)
        mark.write_text(wanted)
    return folder


class Machine:
    """One booted machine."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.name = f"{suite}-{os.getpid()}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}."))
        self.cgroup = f"{CGROUP_PREFIX}{os.getpid()}-{random.randrange(10**6)}"
        self.leader = 0
        self.namespaces: set[tuple[str, str]] = set()
        self._boot: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Boots the machine and waits until everything that starts with it has started."""
        base = tree(self.suite)
        console = open(self.folder / "console.log", "wb")
        # The process namespace ends with its first process, and that with this program: nothing survives.
        command = [
            "setpriv", "--pdeathsig", "KILL",
            "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "--propagation=private",
            sys.executable, str(HERE / "namespaces.py"), str(self.folder), str(base), self.cgroup, self.suite,
        ]
        with console:
            self._boot = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._await_boot()

    def reboot(self) -> None:
        """Boots the machine anew, as a person would do it; what is on its disk stays."""
        old = self.leader
        self.run("systemctl", "reboot", check=False)
        until("the end of the old boot", lambda: not is_alive(old), OFF_SECONDS)
        self._await_boot()

    def network(self) -> str:
        """The file that stands for the machine's network."""
        assert self._boot is not None
        return f"/proc/{self._boot.pid}/ns/net"

    def run(
        self,
        *command: str,
        user: str | None = None,
        stdin: str | bytes | None = None,
        check: bool = True,
        folder: str = "/",
        environment: dict[str, str] | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the machine, as root or as `user`, and fails with its words if it fails."""
        settings = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                    "HOME": f"/home/{user}" if user else "/root", "DEBIAN_FRONTEND": "noninteractive", "PAGER": "cat"}
        settings |= environment or {}
        become = ["runuser", "-u", user, "--"] if user else []
        inner = ["env", "-i", f"--chdir={folder}", *(f"{name}={value}" for name, value in settings.items()), *command]
        outer = ["setpriv", "--bounding-set", DROPPED_CAPABILITIES, "nsenter", "-t", str(self.leader), "-a", "--",
                 "sh", "-c", JOIN, "sh"]
        sent = stdin.encode() if isinstance(stdin, str) else stdin or b""
        try:
            raw = subprocess.run([*outer, *become, *inner], input=sent, capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Wrong(f"`{' '.join(command)}` did not end within {seconds} s") from None
        said, complained = (text.decode(errors="replace") for text in (raw.stdout, raw.stderr))
        done = subprocess.CompletedProcess(raw.args, raw.returncode, said, complained)
        if check and done.returncode:
            shown = f"{' '.join(command)}"[:400]
            raise Wrong(f"`{shown}` ended with {done.returncode}: {said[-1500:]}{complained[-1500:]}")
        return done

    def shell(self, script: str, *words: str, user: str | None = None, check: bool = True, folder: str = "/") -> str:
        """Runs a script of bash's in the machine and returns what it printed; `words` are $1 and so on."""
        return self.run("bash", "-euo", "pipefail", "-c", script, "bash", *words, user=user, check=check,
                        folder=folder).stdout

    def put(self, path: str, content: str | bytes, mode: str = "644", owner: str = "root:root") -> None:
        """Writes a file in the machine, with its folders."""
        user, group = owner.split(":")
        self.run("install", "-D", "-m", mode, "-o", user, "-g", group, "/dev/stdin", path, stdin=content)

    def read(self, path: str) -> str:
        """What is in a file of the machine."""
        return self.run("cat", path).stdout

    def exists(self, *paths: str) -> bool:
        """Whether all of them are there."""
        return all(not self.run("test", "-e", path, check=False).returncode for path in paths)

    def shut_down(self) -> list[str]:
        """Ends the machine. Returns what it has left on the host, which must be nothing."""
        if self._boot is not None:
            network = self._boot_namespace("net")
            if self.leader and is_alive(self.leader):
                self.run("systemctl", "poweroff", check=False)
            try:
                self._boot.wait(OFF_SECONDS)
            except subprocess.TimeoutExpired:
                self._boot.kill()
                self._boot.wait()
            left = [f"process {pid}: {words}" for pid, words in processes_in("net", network)]
        else:
            left = []
        if not remove_cgroup(self.cgroup):
            left.append(f"control group {self.cgroup}")
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            left.append(f"folder {self.folder}")
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        left += [f"mount {line}" for line in mounts if FOLDER_PREFIX in line]
        self._boot, self.leader = None, 0
        return left

    def console(self) -> str:
        """The end of what was written to the console."""
        return (self.folder / "console.log").read_text(errors="replace")[-3000:]

    def _boot_namespace(self, kind: str) -> str:
        assert self._boot is not None
        try:
            return os.readlink(f"/proc/{self._boot.pid}/ns/{kind}")
        except FileNotFoundError:
            return ""

    def _await_boot(self) -> None:
        assert self._boot is not None
        boot = self._boot

        def is_up() -> bool:
            if boot.poll() is not None:
                raise Wrong(f"the machine ended while it booted: {self.console()}")
            self.leader = first_systemd(boot.pid)
            if not self.leader:
                return False
            said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return said in ("running", "degraded")

        try:
            until("the machine to boot", is_up, BOOT_SECONDS)
        except Wrong as wrong:
            raise Wrong(f"{wrong}; its console: {self.console()}") from None


def is_alive(pid: int) -> bool:
    """Whether that process is there and not only waiting to be buried."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def children(pid: int) -> list[int]:
    """The processes that it has started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def first_systemd(pid: int) -> int:
    """The machine's process 1: the first systemd below `pid`; 0 if there is none yet."""
    row = children(pid)
    while row:
        for child in row:
            try:
                if os.readlink(f"/proc/{child}/exe").endswith("/lib/systemd/systemd"):
                    return child
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        row = [below for child in row for below in children(child)]
    return 0


def processes_in(kind: str, namespace: str) -> Iterator[tuple[int, str]]:
    """The processes of the host that are in that namespace, with their command lines."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if namespace and os.readlink(folder / "ns" / kind) == namespace and is_alive(int(folder.name)):
                yield int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")
        # Of the host's own first process nothing may be seen.
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


# Where a host has control groups of version 1, too, those of version 2 are somewhere else; mounted here for a moment.
IN_CGROUPS = """
umount -R -l /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd /sys/fs/cgroup || exit 1
"""


def remove_cgroup(name: str) -> bool:
    """Takes an ended machine's control groups away; false if they are still in use."""
    script = IN_CGROUPS + '[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; [ ! -d "$1" ]'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", name]
    deadline = time.monotonic() + 10
    # Ended processes leave their group a moment later.
    while subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True


def sweep() -> None:
    """Takes away what a run that was killed has left: a folder and an empty control group."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX).partition(".")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    script = IN_CGROUPS + f"ls -d {CGROUP_PREFIX}* 2>/dev/null || :"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    for name in subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.split():
        pid = name.removeprefix(CGROUP_PREFIX).partition("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            remove_cgroup(name)


@contextmanager
def booted(suite: str) -> Iterator[Machine]:
    """A machine that is there for as long as the block."""
    machine = Machine(suite)
    try:
        machine.boot()
        yield machine
    finally:
        machine.shut_down()
