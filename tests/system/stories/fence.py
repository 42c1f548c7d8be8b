"""What the service may not do, and what the check says before it starts."""

import errno
import re

from lab import Wrong
from scene import MEMBER, ROOT, SETTINGS_FILE, TOKEN_FILE, UNIT, Scene, wanted
from stories.places import furnish_home, linger, start_instance

# A configuration that is no YAML.
BROKEN = "api: {base_url: [}\n"

# Each line alone would keep a check from running or from failing.
UNCHECKED = """[Unit]
ConditionPathExists=/nonexistent
[Service]
ExecStart=
ExecStart=-/usr/bin/jimengd run
SuccessExitStatus=78
"""

# Greater than any process's number.
NO_PROCESS = 1 << 22

PROBES = "/opt/probes.pl"
PROBE_UNIT = "jimengd-probe.service"
RESULTS = "/run/jimengd-probe.results"

# Each line is a probe: its name, and what it tries; true where it succeeded. $other is a process of another user,
# $fellow one of the service's user. The numbers of system calls are those of amd64.
PROBE_PROGRAM = r"""
use strict; use warnings; use Fcntl; use Socket;
my ($other, $fellow) = @ARGV;
sub writes { my $file; sysopen($file, $_[0], O_WRONLY | O_CREAT) or return 0; close $file; return unlink $_[0]; }
sub reads { my $file; return sysopen($file, $_[0], O_RDONLY) && defined sysread($file, my $byte, 1); }
sub lists { return opendir(my $folder, $_[0]); }
my @probes = (
    [write_state => sub { writes("/var/lib/jimengd/probe") }],
    [write_etc => sub { writes("/etc/probe") }],
    [write_settings => sub { writes("/etc/jimengd/probe") }],
    [write_usr => sub { writes("/usr/lib/probe") }],
    [write_var => sub { writes("/var/lib/probe") }],
    [write_cgroup => sub { mkdir("/sys/fs/cgroup/probe") && rmdir("/sys/fs/cgroup/probe") }],
    [read_tmp_of_others => sub { reads("/var/tmp/others") }],
    [read_home => sub { reads("/home/open/anybodys") }],
    [list_home => sub { lists("/home") }],
    [list_root => sub { lists("/root") }],
    [read_token_file => sub { reads("/etc/jimengd/api-token") }],
    [read_other_process => sub { lists("/proc/$fellow") }],
    [read_kernel_settings => sub { reads("/proc/sys/kernel/random/uuid") }],
    [raw_socket => sub { socket(my $socket, PF_INET, SOCK_RAW, 1) }],
    [packet_socket => sub { socket(my $socket, 17, SOCK_RAW, 0) }],
    [netlink_socket => sub { socket(my $socket, 16, SOCK_RAW, 0) }],
    # ptrace, PTRACE_SEIZE: does not stop the other one, and ends with this process.
    [trace => sub { syscall(101, 0x4206, $fellow + 0, 0, 0) == 0 }],
    [signal_other => sub { kill 0, $other }],
    # unshare, CLONE_NEWUSER
    [new_namespace => sub { my $child = fork() // return 0; exit(syscall(272, 0x10000000) == 0 ? 0 : $! + 0) if !$child;
        waitpid($child, 0); $! = $? >> 8; return $? == 0 }],
    # mmap of a page that can be written and run
    [write_and_run => sub { syscall(9, 0, 4096, 7, 0x22, -1, 0) != -1 }],
    # mount of a tmpfs
    [mount => sub { mkdir "/run/probe"; my ($type, $place) = ("tmpfs", "/tmp");
        return syscall(165, $type, $place, $type, 0, 0) == 0 && syscall(166, $place, 2) == 0 }],
    # sched_setscheduler, SCHED_FIFO with the lowest priority
    [real_time => sub { my $priority = pack("i", 1); syscall(144, 0, 1, $priority) == 0 }],
    # personality, ADDR_NO_RANDOMIZE
    [personality => sub { syscall(135, 0x0040000) != -1 && syscall(135, 0) != -1 }],
);
for my $probe (@probes) {
    my ($name, $try) = @$probe;
    $! = 0;
    my $done = $try->();
    print "$name ", ($done ? "done" : $! + 0), "\n";
}
"""

# What comes of each probe inside. Outside, as root, each succeeds.
INSIDE = {
    "write_state": {"done"},
    "write_etc": {"EROFS"},
    "write_settings": {"EACCES", "EROFS"},
    "write_usr": {"EROFS"},
    "write_var": {"EROFS"},
    "write_cgroup": {"EROFS"},
    "read_tmp_of_others": {"ENOENT"},
    "read_home": {"EACCES"},
    "list_home": {"EACCES"},
    "list_root": {"EACCES"},
    "read_token_file": {"EACCES"},
    "read_other_process": {"ENOENT"},
    "read_kernel_settings": {"ENOENT"},
    "raw_socket": {"EPERM"},
    "packet_socket": {"EAFNOSUPPORT"},
    "netlink_socket": {"EAFNOSUPPORT"},
    "trace": {"EPERM"},
    "signal_other": {"EPERM"},
    "new_namespace": {"EPERM"},
    # EPERM from the filter of calls, EACCES where the kernel itself is asked to forbid it.
    "write_and_run": {"EPERM", "EACCES"},
    "mount": {"EPERM"},
    "real_time": {"EPERM"},
    "personality": {"EPERM"},
}


def sandbox(scene: Scene) -> str:
    """The unit's own settings around a program that tries what it may not do."""
    machine = scene.machine
    scene.serving()
    machine.put(PROBES, PROBE_PROGRAM)
    machine.put("/var/tmp/others", "others'", "644")
    # Only the sandbox keeps anybody from reading it.
    machine.put("/home/open/anybodys", "anybody's")
    machine.run("systemd-run", "--quiet", "--unit=lab-other", "sleep", "600")
    machine.run("systemd-run", "--quiet", "--unit=lab-fellow", "--uid=jimengd", "sleep", "600")
    processes = [scene.show("MainPID", f"lab-{name}.service") for name in ("other", "fellow")]
    try:
        # As root and outside: a probe that could not succeed would show nothing.
        outside = results(machine.run("systemd-run", "--quiet", "--wait", "--pipe", "perl", PROBES, *processes).stdout)
        unable = sorted(name for name, result in outside.items() if result != "done")
        wanted("outside each probe succeeds", not unable, {name: outside[name] for name in unable})
        wanted("each probe has an expectation", set(outside) == set(INSIDE), set(outside) ^ set(INSIDE))
        machine.put(f"/run/systemd/system/{PROBE_UNIT}", probe_unit(scene, processes))
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", PROBE_UNIT)
        inside = results(machine.read(RESULTS))
    finally:
        machine.run("systemctl", "stop", "lab-other", "lab-fellow", check=False)
        machine.run("rm", "-f", f"/run/systemd/system/{PROBE_UNIT}")
        machine.run("systemctl", "daemon-reload")
    wrong = {name: inside.get(name) for name in INSIDE if inside.get(name) not in INSIDE[name]}
    wanted("inside each ends as it should", not wrong, wrong)
    refused = len([name for name, result in inside.items() if result != "done"])
    return f"the sandbox refuses {refused} things with the right errors, each of which succeeds outside of it"


def probe_unit(scene: Scene, processes: list[str]) -> str:
    """The service's unit, and the probes in place of the program."""
    text = scene.machine.read(f"/usr/lib/systemd/system/{UNIT}")
    command = " ".join(("/usr/bin/perl", PROBES, *processes))
    replaced = {"Type": "oneshot", "ExecStart": command, "ExecReload": "", "Restart": "no", "WatchdogSec": "0"}
    for key, value in replaced.items():
        text, count = re.subn(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
        if not count:
            raise Wrong(f"the unit has no {key}=")
    return text.replace("[Service]", f"[Service]\nStandardOutput=truncate:{RESULTS}", 1)


def results(text: str) -> dict[str, str]:
    """Each probe's name and its result: done, or the name of an error."""
    found = dict(line.split(" ", 1) for line in text.splitlines())
    return {name: errno.errorcode[int(said)] if said.isdigit() else said for name, said in found.items()}


def check(scene: Scene) -> str:
    """`jimengd check --unit` sees what the unit would meet."""
    machine = scene.machine
    scene.serving()
    expect_check(scene, "while it runs", 0)
    machine.run("systemctl", "stop", UNIT)
    expect_check(scene, "while it is down", 0)

    for name, mode in (("", "0750"), ("inbox", "2770"), ("work", "0700")):
        machine.run("install", "-d", "-o", "jimengd", "-g", "jimengd", "-m", mode, f"/srv/videos/{name}")
    apart = "[Service]\nReadWritePaths=/srv/videos/inbox /srv/videos/work\n"
    folders = "folders: {inbox: /srv/videos/inbox, work: /srv/videos/work}\n"
    with scene.drop_in(apart), scene.settings(folders):
        expect_check(scene, "inbox and work on mounts of their own", 78, "work")
        started = machine.run("systemctl", "start", UNIT, check=False)
        wanted("the daemon says the same", started.returncode and scene.show("ExecMainStatus") == "78",
               scene.show("ExecMainStatus"))
    together = "[Service]\nReadWritePaths=/srv/videos\n"
    with scene.drop_in(together), scene.settings(folders):
        expect_check(scene, "inbox and work on one mount", 0)

    machine.run("chown", "root:root", f"{ROOT}/outbox")
    try:
        expect_check(scene, "an outbox that is root's", 78, "outbox")
    finally:
        machine.run("chown", "jimengd:jimengd", f"{ROOT}/outbox")
        # chown takes the bit away.
        machine.run("chmod", "2770", f"{ROOT}/outbox")

    machine.run("mv", TOKEN_FILE, f"{TOKEN_FILE}.away")
    try:
        expect_check(scene, "no token", 78, "token")
    finally:
        machine.run("mv", f"{TOKEN_FILE}.away", TOKEN_FILE)

    with scene.settings("folders: {outbox: inbox/out}\n"):
        expect_check(scene, "an outbox inside the inbox", 78, "outbox")
    with scene.settings(BROKEN):
        expect_check(scene, "a file that is no YAML", 78, SETTINGS_FILE)
    expect_check(scene, "after all that", 0)
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "start", UNIT)
    return "jimengd check --unit: 0 when all is well; 78 for mounts apart, rights, token, nested folders, a broken file"


def check_of_others(scene: Scene) -> str:
    """The same of an instance, of a member's own service, and past settings that are about something else."""
    machine = scene.machine
    scene.serving()
    machine.run("systemctl", "stop", start_instance(scene, "a"))
    # As a check that was killed leaves them; the number is no process's.
    for end in ("service", "output"):
        machine.put(f"/run/systemd/system/jimengd-check-{NO_PROCESS}.{end}", "[Service]\nExecStart=/bin/true\n")
    expect_check(scene, "an instance", 0, unit="jimengd@a")
    with scene.settings(BROKEN, "/etc/jimengd/a.yaml"):
        expect_check(scene, "an instance with a broken file", 78, "/etc/jimengd/a.yaml", unit="jimengd@a")

    environment = linger(scene)
    furnish_home(scene)
    hers, owner = f"/home/{MEMBER}/.config/jimengd/jimengd.yaml", f"{MEMBER}:{MEMBER}"
    machine.put(hers, "", owner=owner)
    expect_check(scene, "a member's own", 0, user=MEMBER, environment=environment)
    with scene.settings(BROKEN, hers, owner):
        expect_check(scene, "a member's own with a broken file", 78, hers, user=MEMBER, environment=environment)

    machine.run("systemctl", "stop", UNIT)
    with scene.drop_in(UNCHECKED):
        machine.run("systemctl", "start", UNIT, check=False)
        wanted("the condition keeps it from starting", scene.show("ConditionResult") == "no" and not scene.is_active())
        expect_check(scene, "a condition that is not met, and exit codes forgiven", 0)
        with scene.settings(BROKEN):
            expect_check(scene, "the same and a broken file", 78, SETTINGS_FILE)
    # Here systemd itself cannot run the check, so that its unit fails.
    with scene.drop_in("[Service]\nReadWritePaths=/nonexistent\n"):
        expect_check(scene, "a path that is not there", 78)
    machine.run("systemctl", "start", UNIT)
    return "jimengd check --unit of an instance and a member's own, past conditions and forgiven exit codes"


def expect_check(scene: Scene, what: str, code: int, *words: str, unit: str = "jimengd", user: str | None = None,
                 environment: dict[str, str] | None = None) -> None:
    """Fails unless the check ends with that code, says those words, and leaves nothing behind."""
    done = scene.machine.run("jimengd", "check", "--unit", unit, user=user, environment=environment, check=False)
    said = done.stdout + done.stderr
    wanted(f"jimengd check --unit {unit} ends with {code} ({what})", done.returncode == code, done.returncode,
           said[-3000:])
    problems = "\n".join(line for line in said.splitlines() if code == 0 or "problem" in line)
    for word in words:
        wanted(f"it names {word!r} ({what})", word in problems, said[-3000:])
    own = ("--user",) if user else ()
    units = ("systemctl", *own, "list-units", "--all", "--plain", "--no-legend", "*jimengd*check*")
    left = scene.machine.run(*units, user=user, environment=environment).stdout
    left += scene.machine.run("find", "/run/systemd", "/run/user", "-name", "*jimengd-check*").stdout
    wanted(f"it leaves nothing behind ({what})", not left, left)
