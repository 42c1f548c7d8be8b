"""The part of a machine's boot that runs in its namespaces: mounts its disk and starts it, again after a reboot.

Started by lab.py: FOLDER TREE CGROUP NAME.
"""

import subprocess
import sys
from pathlib import Path

# With this exit code systemd-nspawn says that the machine wants to boot again.
REBOOT = 133

# Bytes in memory that a machine may write.
DISK_SIZE = "3g"

# Units of a Debian that a machine of a few minutes does not need, and which would hold apt's lock at some moment.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "console-getty.service")

JOURNAL = "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSyncIntervalSec=1s\nForwardToConsole=no\n"


def call(*command: str) -> None:
    """Runs a command that must succeed."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def prepare_groups(name: str) -> None:
    """Has control groups of version 2 alone, whatever the host has, and a group of this machine's own."""
    subprocess.run(["umount", "--recursive", "--lazy", "/sys/fs/cgroup"], stderr=subprocess.DEVNULL)
    call("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    group = Path("/sys/fs/cgroup") / name
    group.mkdir()
    # 0 is this process itself.
    (group / "cgroup.procs").write_text("0")


def prepare_disk(folder: Path, tree: Path) -> Path:
    """The machine's root: the tree, and over it what the machine writes, in memory."""
    disk = folder / "disk"
    disk.mkdir()
    call("mount", "-t", "tmpfs", "-o", f"mode=755,size={DISK_SIZE}", "tmpfs", str(disk))
    upper, work, root = disk / "upper", disk / "work", disk / "root"
    for part in (upper, work, root):
        part.mkdir()
    call("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={tree},upperdir={upper},workdir={work}", str(root))
    # It forbids packages to start services.
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    # Empty, so that the first boot draws one.
    (root / "etc/machine-id").write_text("")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    settings = root / "etc/systemd/journald.conf.d/lab.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(JOURNAL)
    for unit in MASKED:
        mask = root / "etc/systemd/system" / unit
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")
    return root


def main() -> int:
    """Boots the machine until it is switched off."""
    folder, tree, cgroup, name = sys.argv[1:]
    prepare_groups(cgroup)
    # systemd-nspawn keeps folders there; they are not to be the host's.
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    call("ip", "link", "set", "lo", "up")
    root = prepare_disk(Path(folder), Path(tree))
    command = [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={name}", f"--hostname={name}",
        "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        # Without them a unit's rules about devices and addresses are not enforced, and nobody says so.
        "--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf",
        "systemd.unit=multi-user.target",
    ]
    while True:
        status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
        if status != REBOOT:
            return status


if __name__ == "__main__":
    sys.exit(main())
