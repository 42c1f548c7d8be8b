"""More than one service, and one of a person's own."""

import re

from lab import until
from scene import MEMBER, STRANGER, TOKEN, UNIT, Scene, wanted
from stories.files import SHARED, open_to_the_group

INSTANCES = ("a", "b")

# Where folders.conf puts the folders.
ELSEWHERE = "/srv/videos"

# The version of systemd that knows Type=notify-reload.
NOTIFY_RELOAD_SINCE = 253


def instances(scene: Scene) -> str:
    """Two instances side by side, each with its own folders."""
    machine = scene.machine
    if not scene.is_installed():
        scene.install()
    units = [start_instance(scene, name) for name in INSTANCES]
    prompts = []
    for name in INSTANCES:
        root, inbox = f"/var/lib/jimengd-{name}", f"/var/lib/jimengd-{name}/inbox"
        shared_with_members(scene, root)
        machine.shell('umask 077; mkdir -p "$@"', f"{inbox}/album", f"{root}/outbox/album", user=MEMBER)
        # The folders are as open to the group as those of the one service, whatever the umask.
        prompts.append(scene.drop(f"album/in-{name}", inbox=inbox, umask="077"))
    for name in INSTANCES:
        root = f"/var/lib/jimengd-{name}"
        video = scene.video(f"album/in-{name}", root)
        machine.run("test", "-r", video, user=MEMBER)
        done = machine.run("ls", f"{root}/outbox", user=STRANGER, check=False)
        wanted(f"{STRANGER} cannot list the videos of {name}", done.returncode)
        mixed = machine.shell(f"ls /var/lib/jimengd-*/outbox/album/in-{name}.mp4 | wc -l").strip()
        wanted("each delivers its own", mixed == "1", mixed)
        machine.shell('mv "$1" ~/', video, user=MEMBER)
    scene.paid_once(*prompts)
    machine.run("systemctl", "stop", *units)
    results = {scene.show("Result", unit) for unit in units}
    wanted("both ended well", results == {"success"}, results)
    return "two instances side by side, each with folders and token of its own; members cannot touch root and work"


# What nobody but the daemon may do, as a member tries it. $1 is the root.
FORBIDDEN = {
    "make a file in the root": 'touch "$1/made"',
    "make a folder in the root": 'mkdir "$1/made"',
    "rename a folder of the root": 'mv "$1/outbox" "$1/renamed"',
    "rename the ledger": 'mv "$1/ledger.db" "$1/renamed"',
    "read the ledger": 'cat "$1/ledger.db"',
    "list work": 'ls "$1/work"',
    "make a file in work": 'touch "$1/work/made"',
}


def shared_with_members(scene: Scene, root: str) -> None:
    """Fails unless the folders that the daemon has made there are as open as they should be, and no more."""
    machine = scene.machine
    # Without the set-group-ID bit, which the service may not set; its access lists do the same.
    for path, mode in ((root, "750"), (f"{root}/work", "700"), *((f"{root}/{name}", "770") for name in SHARED)):
        seen = machine.run("stat", "-c", "%U %G %a", path).stdout.strip()
        wanted(f"{path} is the daemon's, with mode {mode}", seen == f"jimengd jimengd {mode}", seen)
    for name in SHARED:
        open_to_the_group(scene, f"{root}/{name}")
    for what, script in FORBIDDEN.items():
        done = machine.run("bash", "-c", script, "bash", root, user=MEMBER, check=False)
        wanted(f"a member cannot {what} of {root}", done.returncode and "Permission denied" in done.stderr,
               done.returncode, done.stderr)


def start_instance(scene: Scene, name: str) -> str:
    """Starts an instance with a configuration and a token of its own; returns its unit."""
    machine, unit = scene.machine, f"jimengd@{name}.service"
    machine.put(f"/etc/jimengd/{name}.yaml", "tasks: {max: 4}\n")
    machine.put(f"/etc/jimengd/{name}.api-token", TOKEN + "\n", "600")
    machine.run("systemctl", "start", unit)
    return unit


def of_a_person(scene: Scene) -> str:
    """A service of a person's own, in her home."""
    machine = scene.machine
    if not scene.is_installed():
        scene.install()
    home, environment = f"/home/{MEMBER}", linger(scene)
    furnish_home(scene)
    machine.run("systemctl", "--user", "start", UNIT, user=MEMBER, environment=environment)
    until("her inbox", lambda: machine.exists(f"{home}/jimengd/inbox"))
    prompt = scene.drop("own", inbox=f"{home}/jimengd/inbox")
    scene.video("own", f"{home}/jimengd")
    scene.paid_once(prompt)
    machine.run("systemctl", "--user", "reload", UNIT, user=MEMBER, environment=environment)
    machine.run("systemctl", "--user", "stop", UNIT, user=MEMBER, environment=environment)
    result = machine.run("systemctl", "--user", "show", UNIT, "--property=Result", "--value", user=MEMBER,
                         environment=environment).stdout.strip()
    wanted("it ended well", result == "success", result)
    return "a member's own service, systemctl --user, delivers into her home, reloads and stops"


def elsewhere(scene: Scene) -> str:
    """The drop-ins that are shipped as examples, used as their first lines say."""
    machine = scene.machine
    scene.serving()
    folder, examples = f"/etc/systemd/system/{UNIT}.d", "/usr/share/doc/jimengd/examples"
    shown = ["folders.conf"]
    try:
        machine.run("cp", f"{examples}/folders.conf", folder)
        said = re.search(r"`(install -d [^`]*)`", machine.read(f"{examples}/folders.conf"))
        wanted("folders.conf says how to make the folder", said)
        machine.shell(said[1])
        with scene.settings(f"root: {ELSEWHERE}\n"):
            # Where its reload waits for the service manager's own word; before that version it must not be used.
            if int(machine.run("systemctl", "--version").stdout.split()[1]) >= NOTIFY_RELOAD_SINCE:
                machine.run("cp", f"{examples}/notify-reload.conf", folder)
                shown.append("notify-reload.conf")
            machine.run("systemctl", "daemon-reload")
            machine.run("jimengd", "check", "--unit", "jimengd")
            machine.run("systemctl", "restart", UNIT)
            prompt = scene.drop("elsewhere", inbox=f"{ELSEWHERE}/inbox")
            video = scene.video("elsewhere", ELSEWHERE)
            scene.paid_once(prompt)
            shared_with_members(scene, ELSEWHERE)
            machine.shell('mv "$1" ~/', video, user=MEMBER)
            process = scene.show("MainPID")
            machine.run("systemctl", "reload", UNIT)
            wanted("a reload keeps the process", scene.show("MainPID") == process and scene.is_active())
    finally:
        machine.shell(f"rm -f {folder}/folders.conf {folder}/notify-reload.conf; systemctl daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    return f"the shipped drop-ins {' and '.join(shown)}, as their first lines say: checked, delivers there, reloads"


def furnish_home(scene: Scene) -> None:
    """A token for the service of the member's own."""
    config = f"/home/{MEMBER}/.config"
    scene.machine.put(f"{config}/jimengd/api-token", TOKEN + "\n", "600", f"{MEMBER}:{MEMBER}")
    scene.machine.run("chown", "-R", f"{MEMBER}:{MEMBER}", config)


def linger(scene: Scene) -> dict[str, str]:
    """Has systemd run a manager for the member without a login; returns what her commands need to find it."""
    machine = scene.machine
    machine.run("loginctl", "enable-linger", MEMBER)
    number = machine.run("id", "-u", MEMBER).stdout.strip()
    until("her manager", lambda: scene.is_active(f"user@{number}.service"))
    return {"XDG_RUNTIME_DIR": f"/run/user/{number}", "USER": MEMBER}
