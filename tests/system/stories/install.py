"""The package comes, is upgraded, goes."""

import re
import shutil
import subprocess
from pathlib import Path

from lab import until
from scene import ROOT, SETTINGS_FILE, TOKEN, TOKEN_FILE, UNIT, Scene, wanted
from stories.files import SHARED, open_to_the_group
from stories.places import start_instance

# Path, owner, group, mode.
OWNED = (
    ("/etc/jimengd", "root", "root", "755"),
    (SETTINGS_FILE, "root", "root", "644"),
    (ROOT, "jimengd", "jimengd", "750"),
    (f"{ROOT}/inbox", "jimengd", "jimengd", "2770"),
    (f"{ROOT}/work", "jimengd", "jimengd", "700"),
    (f"{ROOT}/outbox", "jimengd", "jimengd", "2770"),
    (f"{ROOT}/error", "jimengd", "jimengd", "2770"),
    (f"{ROOT}/archive", "jimengd", "jimengd", "2770"),
)

SHIPPED = (
    "/usr/bin/jimengd",
    "/usr/share/man/man1/jimengd.1.gz",
    "/usr/share/man/man5/jimengd.yaml.5.gz",
    "/usr/lib/systemd/catalog/jimengd.catalog",
    "/usr/share/doc/jimengd/examples/example.yaml",
    "/usr/share/doc/jimengd/examples/notify-reload.conf",
    "/usr/share/doc/jimengd/examples/folders.conf",
    "/usr/share/man/man7/jimengd-codes.7.gz",
    "/usr/share/bash-completion/completions/jimengd",
)

# What lies beside the roots and looks like one to who looks at names alone; and what an administrator put into roots.
BACKUP = "/var/lib/jimengd-backup/2026.tar.gz"
NOTES = (f"{ROOT}/note.txt", "/var/lib/jimengd-noted/note.txt")

# An instance that is enabled.
LINK = "/etc/systemd/system/multi-user.target.wants/jimengd@a.service"

# Instances at the end: one with people's files, one with an administrator's note alone, one with nothing but a mount.
LAST_INSTANCES = ("a", "noted", "apart")
MOUNT = "/var/lib/jimengd-apart/outbox"

# The most that the services may be exposed to, times ten.
EXPOSURE_MAX = "11"


def from_the_file(scene: Scene) -> str:
    """Installed with apt, and nothing runs; everything is there and belongs to who should have it."""
    machine = scene.machine
    scene.install()
    wanted("nothing runs", scene.show("ActiveState") == "inactive", scene.show("ActiveState"))
    enabled = machine.run("systemctl", "is-enabled", UNIT, check=False).stdout.strip()
    wanted("nothing is enabled", enabled == "disabled", enabled)
    home = machine.run("getent", "passwd", "jimengd").stdout.split(":")
    wanted("the daemon's user cannot log in", home[5] == ROOT and home[6].strip().endswith("nologin"), home)
    for path, *owned in OWNED:
        seen = machine.run("stat", "-c", "%U %G %a", path).stdout.split()
        wanted(f"{path} is {owned}", seen == list(owned), seen)
    for name in SHARED:
        open_to_the_group(scene, f"{ROOT}/{name}")
    for path in SHIPPED:
        wanted(f"{path} is there", machine.exists(path))
    settings = machine.read(SETTINGS_FILE).splitlines()
    said = [line for line in settings if line.strip() and not line.startswith("#")]
    wanted("the configuration that comes with it says nothing", settings and not said, said)
    catalogue = machine.run("journalctl", "--list-catalog", "--no-pager").stdout
    wanted("the journal's catalogue knows the entries", "jimengd" in catalogue)
    return "installed with apt, not started, not enabled; users, folders, rights, pages and catalogue are there"


def gates(scene: Scene) -> str:
    """systemd itself has nothing to complain of."""
    machine = scene.machine
    if not scene.is_installed():
        scene.install()
    units = (("--system", UNIT), ("--system", "jimengd@x.service"), ("--user", UNIT))
    for scope, unit in units:
        # Some mistakes are only words.
        done = machine.run("systemd-analyze", scope, "verify", "--man=no", "--recursive-errors=one", unit, check=False,
                           environment={"XDG_RUNTIME_DIR": "/run"})
        wanted(f"systemd-analyze {scope} verify {unit} is silent", not done.returncode and not done.stderr,
               done.returncode, done.stdout + done.stderr)
    shown = []
    for unit in (UNIT, "jimengd@x.service"):
        words = ("security", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit)
        done = machine.run("systemd-analyze", *words, check=False)
        sum_line = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        wanted(f"{unit} is exposed to no more than {EXPOSURE_MAX} tenths", sum_line and not done.returncode,
               done.stdout[-200:] + done.stderr)
        shown.append(sum_line[1])
    return f"systemd-analyze verify is silent about {len(units)} units; exposure {' and '.join(shown)}"


def without_token(scene: Scene) -> str:
    """A start that cannot succeed says why, once."""
    machine = scene.machine
    if not scene.is_installed():
        scene.install()
    machine.run("systemctl", "stop", UNIT)
    machine.run("rm", "-f", TOKEN_FILE)
    done = machine.run("systemctl", "start", UNIT, check=False)
    wanted("the start fails", done.returncode, done.returncode)
    code = scene.show("ExecMainStatus")
    wanted("the exit code is 77", code == "77", code)
    # A unit that is to be started again is activating, not failed.
    wanted("systemd does not try again", (scene.show("ActiveState"), scene.show("NRestarts")) == ("failed", "0"),
           scene.show("ActiveState"), scene.show("NRestarts"))
    status = machine.run("systemctl", "status", "--no-pager", UNIT, check=False).stdout
    wanted("systemctl status names the file that is missing", TOKEN_FILE in status.partition("CGroup")[0], status)
    return "without a token: exit code 77, no restart, systemctl status says where the token belongs"


def upgrade(scene: Scene) -> str:
    """A newer package while a task is under way, with a configuration that was edited on both sides."""
    machine = scene.machine
    scene.serving()
    newer = next_version(scene.package, scene.scratch)
    machine.put(f"/srv/lab/newer/{newer.name}", newer.read_bytes())
    before = machine.read(SETTINGS_FILE)
    machine.put(SETTINGS_FILE, before + "# mine\n")
    other = start_instance(scene, "a")
    processes = scene.show("MainPID"), scene.show("MainPID", other)
    prompt = scene.drop("upgraded", "lab: upgraded [seconds 8]")
    scene.in_flight(prompt)
    machine.run("apt-get", "install", "--yes", "--option=Dpkg::Options::=--force-confold", f"./{newer.name}",
                folder="/srv/lab/newer")
    scene.still_in_flight(prompt)
    for unit, process in zip((UNIT, other), processes, strict=True):
        until(f"{unit} to be up", lambda: scene.is_active(unit))
        wanted(f"{unit} was restarted", scene.show("MainPID", unit) != process, process)
    version = machine.run("dpkg-query", "-W", "-f", "${Version}", "jimengd").stdout
    wanted("it is the newer one", version in newer.name, version)
    wanted("the edited configuration is kept", machine.read(SETTINGS_FILE).endswith("# mine\n"))
    scene.video("upgraded")
    scene.paid_once(prompt)
    return "upgraded in the middle of a task: restarted, an instance too; edited configuration kept, paid once"


def next_version(package: Path, scratch: Path) -> Path:
    """The same package with a higher version, and another configuration in it so that dpkg has something to decide."""
    tree = scratch / "newer"
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(" "))
    version = fields["Version"] + "+lab1"
    lines = [f"Version: {version}" if line.startswith("Version:") else line for line in lines]
    control.write_text("\n".join(lines) + "\n")
    with open(tree / SETTINGS_FILE.lstrip("/"), "a") as settings:
        settings.write("# A newer line.\n")
    target = scratch / f"jimengd_{version}_{fields['Architecture']}.deb"
    # Fast rather than small.
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target)], check=True,
                   stdout=subprocess.DEVNULL)
    return target


def remove(scene: Scene) -> str:
    """Removed: stopped, and nothing of the people's or the operator's is gone."""
    machine = scene.machine
    scene.serving()
    for name in LAST_INSTANCES:
        start_instance(scene, name)
    machine.run("systemctl", "enable", "jimengd@a.service")
    scene.drop("kept")
    scene.video("kept")
    scene.drop("kept-too", inbox="/var/lib/jimengd-a/inbox")
    scene.video("kept-too", "/var/lib/jimengd-a")
    machine.run("apt-get", "remove", "--yes", "jimengd")
    wanted("it does not run any more", machine.run("pgrep", "-x", "jimengd", check=False).returncode == 1)
    wanted("the unit is gone", not machine.exists(f"/usr/lib/systemd/system/{UNIT}"))
    kept = (SETTINGS_FILE, TOKEN_FILE, f"{ROOT}/ledger.db", f"{ROOT}/outbox/kept.mp4", f"{ROOT}/archive/kept.jpg")
    for path in kept:
        wanted(f"{path} is kept", machine.exists(path))
    failed = machine.run("systemctl", "--failed", "--no-legend", "--plain").stdout
    wanted("systemd knows no failed unit", "jimengd" not in failed, failed)
    return "removed: all is stopped, an instance too; configuration, token, ledger and folders are kept"


def purge(scene: Scene) -> str:
    """Purged: what is the package's own is gone, what is the people's or somebody else's is not."""
    machine = scene.machine
    status = machine.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "jimengd", check=False).stdout
    if status != "config-files":
        remove(scene)
    theirs = {f"{ROOT}/inbox/waiting.jpg": "not sent yet", "/var/lib/jimengd-a/inbox/waiting.jpg": "nor this",
              BACKUP: "years", **dict.fromkeys(NOTES, "a note")}
    for path, text in theirs.items():
        machine.put(path, text)
    kept = (*theirs, f"{ROOT}/outbox/kept.mp4", f"{ROOT}/archive/kept.jpg", "/var/lib/jimengd-a/outbox/kept-too.mp4")
    ledgers = [f"{root}/ledger.db" for root in (ROOT, *(f"/var/lib/jimengd-{name}" for name in LAST_INSTANCES))]
    gone = (SETTINGS_FILE, TOKEN_FILE, *ledgers)
    # What was never there would not show that it was taken away.
    for path in gone:
        wanted(f"{path} was there", machine.exists(path))
    wanted(f"{LINK} was there", is_link(scene, LINK))
    machine.run("mount", "-t", "tmpfs", "outbox", MOUNT)
    try:
        said = machine.run("apt-get", "purge", "--yes", "jimengd").stdout
    finally:
        machine.run("umount", MOUNT)
    for path in gone:
        wanted(f"{path} is gone", not machine.exists(path))
    wanted(f"{LINK} is gone", not is_link(scene, LINK))
    left = machine.shell("find /var/lib/jimengd* -name 'ledger.db*'; find /var/lib/jimengd-apart -type f || :")
    wanted("nothing is left of the ledgers, and no file of the root with the mount", not left, left)
    for path in kept:
        wanted(f"{path} is kept", machine.exists(path))
    wanted("no file was changed", all(machine.read(path) == text for path, text in theirs.items()))
    told = [line for line in said.splitlines() if "kept" in line]
    for root in (ROOT, "/var/lib/jimengd-a", "/var/lib/jimengd-noted"):
        is_told = any(re.search(rf"{root}(?![\w-])", line) for line in told)
        wanted(f"it says that it kept {root}", is_told, said[-1500:])
    found = machine.run("grep", "-rl", TOKEN, "/etc", "/var/lib", check=False).stdout
    wanted("the token is nowhere any more", not found, found)
    return ("purged, past a mount: configuration, token, ledgers and links are gone; files of people and "
            "administrators and a backup are kept, and it says so")


def is_link(scene: Scene, path: str) -> bool:
    """Whether a link is there, wherever it leads."""
    return not scene.machine.run("test", "-L", path, check=False).returncode
