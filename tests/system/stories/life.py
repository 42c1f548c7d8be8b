"""Starts, reloads, stops, kills, stalls, reboots."""

import re
import time
from collections.abc import Callable

from lab import Wrong, until
from scene import ROOT, SETTINGS_FILE, TOKEN, TOKEN_FILE, UNIT, WRONG_TOKEN, Scene, wanted
from simulator import SLOW_SECONDS, SLOW_WORDS
from stories.places import start_instance

# Where the program with fail points lies on the machine.
DEBUG_PROGRAM = "/opt/jimengd-debug"

# The file that lets a stalled program go on.
GO_ON = f"{ROOT}/go-on"

# A stalled loop is noticed after this.
WATCHDOG_SECONDS = 3

# As in the unit.
STOP_SECONDS_MAX = 140

UPLOADS = 12


def start(scene: Scene) -> str:
    """With its token the service starts, also after starts that failed, and says how it is."""
    machine = scene.machine
    if not scene.is_installed():
        scene.install()
    machine.put(TOKEN_FILE, TOKEN + "\n", "600")
    machine.run("systemctl", "start", UNIT)
    wanted("it is up", scene.is_active(), scene.show("ActiveState"))
    prompt = scene.drop("first")
    scene.video("first")
    scene.paid_once(prompt)
    line = re.compile(r"\d+ in flight .*, \d+ waiting; since midnight [1-9]\d* delivered, \d+ failed")
    text = until("the status line to count the video", lambda: line.search(scene.show("StatusText")))[0]
    return f"starts with its token, no reset-failed needed; status: {text}"


def reload(scene: Scene) -> str:
    """New settings hold after a reload; wrong ones make it fail and change nothing."""
    scene.serving()
    reload_right_and_wrong(scene, UNIT, ROOT, SETTINGS_FILE)
    return "reload changes a setting; with a wrong file it fails, the old setting holds, the journal says why"


def reload_of_an_instance(scene: Scene) -> str:
    """The same of an instance, whose root is in its unit and not in the file that is wrong."""
    if not scene.is_installed():
        scene.install()
    unit = start_instance(scene, "a")
    reload_right_and_wrong(scene, unit, "/var/lib/jimengd-a", "/etc/jimengd/a.yaml")
    scene.machine.run("systemctl", "stop", unit)
    return "the same of an instance: with a wrong file its reload fails, the old setting holds, the journal says why"


def reload_right_and_wrong(scene: Scene, unit: str, root: str, file: str) -> None:
    """Reloads a service that runs with a right file, a wrong one, and its own again."""
    machine = scene.machine
    process = scene.show("MainPID", unit)

    def has_receipt(name: str) -> bool:
        prompt = scene.drop(name, f"lab: {name} of {unit}", inbox=f"{root}/inbox")
        scene.video(name, root)
        scene.paid_once(prompt)
        return machine.exists(f"{root}/outbox/{name}.receipt.yaml")

    wanted("receipts are written at first", has_receipt("before-reload"))
    with scene.settings("outbox: {receipt: false}\n", file):
        machine.run("systemctl", "reload", unit)
        wanted("the new setting holds: no receipt", not has_receipt("after-reload"))
        machine.put(file, "outbox: {receit: true}\n")
        began = time.time()
        done = machine.run("systemctl", "reload", unit, check=False)
        wanted("systemctl reload fails", done.returncode, done.returncode)
        wanted("the service is up", scene.is_active(unit), scene.show("ActiveState", unit))

        def says_why() -> bool:
            told = scene.journal(f"_PID={process}", since=began)
            return any("receit" in str(entry["MESSAGE"]) for entry in told)

        until("the daemon to say in the journal what is wrong", says_why, 20)
        wanted("the old setting holds: no receipt", not has_receipt("after-refusal"))
    machine.run("systemctl", "reload", unit)
    wanted("a good reload after a bad one holds: a receipt", has_receipt("after-mending"))
    wanted("it was one process all the time", scene.show("MainPID", unit) == process)


def token(scene: Scene) -> str:
    """A token that is refused, and the right one after it, which comes with a restart alone."""
    machine = scene.machine
    scene.serving()
    machine.run("systemctl", "stop", UNIT)
    prompt = scene.drop("shut-out")
    before = listing(scene)
    began = time.time()
    with scene.token(WRONG_TOKEN):
        machine.run("systemctl", "start", UNIT)
        is_paused(scene)
        # The pair that has found out goes back.
        until("the inbox as it was", lambda: listing(scene) == before)

    def told(since: float, **fields: str) -> list[str]:
        entries = scene.journal("-t", "jimengd", *(f"{name}={value}" for name, value in fields.items()), since=since)
        return [str(entry["MESSAGE"]) for entry in entries]

    until("an error about the account", lambda: told(began, PRIORITY="3", REASON="account"), 10)
    # Outside of the block: the right token is in its place now.
    began = time.time()
    machine.run("systemctl", "reload", UNIT)
    until("the journal to say that a new token comes with a restart", lambda: [
        words for words in told(began, PRIORITY="4") if "systemctl restart" in words and "token" in words
    ], 10)
    until("another try", lambda: told(began, PAIR="shut-out"), 20)
    until("the inbox as it was", lambda: listing(scene) == before)
    is_paused(scene)
    wanted("nothing was paid", scene.simulator.paid(prompt) == 0)
    machine.run("systemctl", "restart", UNIT)
    scene.video("shut-out")
    scene.paid_once(prompt)
    return "a refused token pauses, and no pair fails; reload says that restart brings the right one, and it does"


def listing(scene: Scene) -> str:
    """What lies in inbox and error/, with all that a move to and fro might change."""
    return scene.machine.shell(
        """
        find "$@" -type f -printf '%p %s %u %g %m %T@\\n' | sort
        find "$@" -type f -exec sha256sum {} + | sort
        """,
        f"{ROOT}/inbox", f"{ROOT}/error")


def is_paused(scene: Scene) -> None:
    """Waits for the status line to begin with the pause for the account's sake."""
    until("the status line to tell the pause", lambda: scene.show("StatusText").startswith("Paused: account"), 20)


def stop(scene: Scene) -> str:
    """Stopped in the middle of a task."""
    scene.serving()
    prompt = scene.drop("stopped", "lab: stopped [seconds 5]")
    scene.in_flight(prompt)
    scene.machine.run("systemctl", "stop", UNIT)
    scene.still_in_flight(prompt)
    ended = (scene.show("ActiveState"), scene.show("Result"), scene.show("ExecMainStatus"))
    wanted("it ended well", ended == ("inactive", "success", "0"), ended)
    scene.machine.run("systemctl", "start", UNIT)
    scene.video("stopped")
    scene.paid_once(prompt)
    return "stopped and started in the middle of a task: resumed, paid once"


def kill(scene: Scene) -> str:
    """Killed in the middle of a task."""
    scene.serving()
    restarts = int(scene.show("NRestarts"))
    prompt = scene.drop("killed", "lab: killed [seconds 5]")
    scene.in_flight(prompt)
    scene.machine.run("systemctl", "kill", "--signal=KILL", UNIT)
    scene.still_in_flight(prompt)
    until("systemd to start it again", lambda: int(scene.show("NRestarts")) > restarts and scene.is_active())
    scene.video("killed")
    scene.paid_once(prompt)
    return "SIGKILL in the middle of a task: started again by systemd, resumed, paid once"


def stalled(what: str, plan: str, pairs: int = 1) -> Callable[[Scene], str]:
    """A story of a loop that stands still: the watchdog ends the process, and the next one does the work.

    Two pairs give a scan something to read; elsewhere the second might be caught while it is sent and be in doubt.
    """

    def story(scene: Scene) -> str:
        machine = scene.machine
        scene.serving()
        put_debug_program(scene)
        machine.run("rm", "-f", GO_ON)
        settings = f"""[Service]
ExecStart=
ExecStart={DEBUG_PROGRAM} run
Environment="FAILPOINTS={plan};do=wait;until={GO_ON}"
WatchdogSec={WATCHDOG_SECONDS}s
"""
        with scene.drop_in(settings):
            machine.run("systemctl", "restart", UNIT)
            began = time.time()
            prompts = [scene.drop(f"{what}-1", f"lab: stalled {what} [seconds 2]")]
            scene.in_flight(prompts[0])
            prompts += [scene.drop(f"{what}-{n}") for n in range(2, pairs + 1)]

            def has_bitten() -> bool:
                told = scene.journal(f"UNIT={UNIT}", since=began)
                return any("Watchdog timeout" in str(entry["MESSAGE"]) for entry in told)

            until("the watchdog to bite", has_bitten, WATCHDOG_SECONDS * 10)
            machine.run("touch", GO_ON)
            for n in range(1, pairs + 1):
                scene.video(f"{what}-{n}")
            scene.paid_once(*prompts)
            wanted("the process is a new one", int(scene.show("NRestarts")) > 0)
        machine.run("systemctl", "restart", UNIT)
        machine.run("rm", "-f", GO_ON)
        return f"a {what} that stands still: the watchdog bites, the next process finishes the work, paid once"

    return story


def put_debug_program(scene: Scene) -> None:
    """Brings the program with fail points to the machine, once."""
    if not scene.debug_program.exists():
        raise Wrong(f"there is no program with fail points at {scene.debug_program}: cargo test builds it")
    if not scene.machine.exists(DEBUG_PROGRAM):
        scene.machine.put(DEBUG_PROGRAM, scene.debug_program.read_bytes(), "755")


def stop_under_load(scene: Scene) -> str:
    """Stopped while many uploads are under way whose answers take their time."""
    machine = scene.machine
    scene.serving()
    prompts = [scene.drop(f"load-{n}", f"lab: {SLOW_WORDS} {n}") for n in range(UPLOADS)]

    def submitting() -> bool:
        page = machine.run("jimengd", "status", "--json", check=False).stdout
        found = re.search(r'"submitting": (\d+)', page)
        return bool(found) and int(found[1]) >= 2

    until("several submissions that were not answered yet", submitting)
    began = time.monotonic()
    machine.run("systemctl", "stop", UNIT, seconds=STOP_SECONDS_MAX + 20)
    took = time.monotonic() - began
    ended = (scene.show("Result"), scene.show("ExecMainStatus"))
    wanted("it ended well and in time", ended == ("success", "0") and took < STOP_SECONDS_MAX, ended, took)
    paid = len([task for task in scene.simulator.tasks() if task["prompt"] in prompts])
    wanted("it was stopped in the middle", paid < UPLOADS, paid)
    machine.run("systemctl", "start", UNIT)
    for n in range(UPLOADS):
        scene.video(f"load-{n}", seconds=120)
    scene.paid_once(*prompts)
    return (f"stopped under load, answers taking {SLOW_SECONDS} s: ended well after {took:.1f} s, "
            f"{UPLOADS} pairs delivered afterwards, each paid once")


def reboot(scene: Scene) -> str:
    """The machine boots anew in the middle of a task."""
    machine = scene.machine
    scene.serving()
    machine.run("systemctl", "enable", UNIT)
    prompt = scene.drop("rebooted", "lab: rebooted [seconds 8]")
    scene.in_flight(prompt)
    boot = scene.journal("-n", "1")[-1]["_BOOT_ID"]
    machine.reboot()
    scene.still_in_flight(prompt)
    wanted("it is another boot", scene.journal("-n", "1")[-1]["_BOOT_ID"] != boot)
    until("the enabled service to be up", scene.is_active)
    scene.video("rebooted")
    scene.paid_once(prompt)
    return "rebooted in the middle of a task: the enabled service goes on, paid once"
