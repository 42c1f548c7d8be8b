"""What the journal tells, and what happens when it does not listen."""

import time

from lab import until
from scene import ROOT, UNIT, Scene, wanted

# The states of a job that goes well, in their order; others may come between.
STATES = ("queued", "submitting", "submitted", "ready", "fetched", "delivered")

WARNING, INFO = "4", "6"

# How many entries may wait for the journal, and pairs that are delivered while more of them want to.
QUEUE_MAX = 4096
FLOODED = 3


def one_job(scene: Scene) -> str:
    """A job's story, by its number."""
    scene.serving()
    scene.drop("told")
    scene.video("told")
    job = scene.job("told")
    until("the last state", lambda: states(scene, job)[-1:] == ["delivered"])
    seen = states(scene, job)
    wanted(f"the states come in the order {STATES}", [state for state in seen if state in STATES] == list(STATES), seen)
    entries = scene.journal("-t", "jimengd", f"JOB_ID={job}")
    wanted("every entry names the pair", all(entry.get("PAIR") == "told" for entry in entries), entries)
    wanted("the task is named", any(entry.get("TASK_ID", "").isdigit() for entry in entries), entries)
    delivered = [entry for entry in entries if entry.get("STATE") == "delivered"][-1]
    wanted("a delivery is an information", delivered["PRIORITY"] == INFO, delivered["PRIORITY"])
    wanted("every state has a MESSAGE_ID", all("MESSAGE_ID" in entry for entry in entries if "STATE" in entry), entries)
    return f"journalctl JOB_ID=… tells a job: {', '.join(seen)}"


def a_failure(scene: Scene) -> str:
    """A failure is a warning, and the catalogue explains its code."""
    scene.serving()
    scene.drop("explained", "lab: explained [50412]")
    scene.failed("explained")
    job = scene.job("explained")
    until("the failure in the journal", lambda: states(scene, job)[-1:] == ["failed"])
    failed = [entry for entry in scene.journal("-t", "jimengd", f"JOB_ID={job}") if entry.get("STATE") == "failed"][-1]
    wanted("a failure is a warning", failed["PRIORITY"] == WARNING, failed["PRIORITY"])
    wanted("it names the code", failed.get("BUSINESS_CODE") == "50412", failed)
    shown = scene.machine.run("journalctl", "-x", "--no-pager", "-t", "jimengd", f"JOB_ID={job}").stdout
    # The catalogue's lines have a bar before them.
    explained = [line for line in shown.splitlines() if line.startswith(("░░", "--"))]
    for words in ("50412", "moderation", "Reword"):
        wanted(f"journalctl -x explains with {words!r}", any(words in line for line in explained), shown[-2000:])
    return "a failure is a warning with its code, and journalctl -x says what the code means and what to do"


def that_stands_still(scene: Scene) -> str:
    """journald is stopped dead, then restarted: the work goes on, and afterwards the journal knows of it."""
    scene.serving()
    machine = scene.machine
    journald = scene.show("MainPID", "systemd-journald.service")
    machine.run("kill", "-STOP", journald)
    try:
        first = scene.drop("unheard")
        scene.video("unheard")
        state = machine.shell(f"cut -d' ' -f3 /proc/{journald}/stat").strip()
        wanted("journald stood still meanwhile", state == "T", state)
        machine.run("systemctl", "restart", "systemd-journald.service")
        second = scene.drop("heard")
        scene.video("heard")
    finally:
        machine.run("kill", "-CONT", journald, check=False)
    scene.paid_once(first, second)

    def is_told(pair: str) -> bool:
        entries = scene.journal("-t", "jimengd")
        told = {entry.get("STATE") for entry in entries if entry.get("PAIR") == pair}
        return told.issuperset(STATES) or any("LOST" in entry for entry in entries)

    for pair in ("unheard", "heard"):
        until(f"the story of {pair}, or the count of the entries that were lost", lambda: is_told(pair))
    return "journald stopped dead and restarted: delivered meanwhile, told afterwards"


def entries_lost(scene: Scene) -> str:
    """More entries than may wait while journald is stopped dead: the work goes on, and what was lost is counted."""
    scene.serving()
    machine = scene.machine
    journald = scene.show("MainPID", "systemd-journald.service")
    began = time.time()
    with scene.drop_in("[Service]\nEnvironment=JIMENGD_LOG__LEVEL=trace\n"):
        machine.run("systemctl", "restart", UNIT)
        machine.run("kill", "-STOP", journald)
        try:
            # A name that the inbox leaves alone. Each time is three events at least, and each event an entry.
            machine.shell(f'for n in {{1..{QUEUE_MAX}}}; do : >"$1"; done; rm "$1"', f"{ROOT}/inbox/.flood")
            prompts = [scene.drop(f"flooded-{n}") for n in range(FLOODED)]
            for n in range(FLOODED):
                scene.video(f"flooded-{n}")
            state = machine.shell(f"cut -d' ' -f3 /proc/{journald}/stat").strip()
            wanted("journald stood still meanwhile", state == "T", state)
        finally:
            machine.run("kill", "-CONT", journald)
        lost = until("the count of the entries that were lost", lambda: [
            entry for entry in scene.journal("-t", "jimengd", since=began) if "LOST" in entry
        ])[0]
        wanted("as many were lost as had no room", int(lost["LOST"]) >= QUEUE_MAX, lost["LOST"])
        wanted("that is a warning", lost["PRIORITY"] == WARNING, lost["PRIORITY"])
        listed = machine.run("journalctl", "--no-pager", "--list-catalog", lost.get("MESSAGE_ID", "none"), check=False)
        wanted("its MESSAGE_ID is that of lost entries in the catalogue", "entries were lost" in listed.stdout,
               lost, listed.stdout + listed.stderr)
        # With every entry there is, among which the token must not be either.
        prompts.append(scene.drop("after-the-flood"))
        scene.video("after-the-flood")
        job = scene.job("after-the-flood")
        until("its story", lambda: set(states(scene, job)).issuperset(STATES))
    machine.run("systemctl", "restart", UNIT)
    scene.paid_once(*prompts)
    return (f"a flood of entries while journald stands still: {FLOODED} pairs delivered meanwhile, "
            f"{lost['LOST']} lost entries counted afterwards")


def states(scene: Scene, job: str) -> list[str]:
    """The states of a job as the journal has them, each once where it is told several times in a row."""
    told = [entry["STATE"] for entry in scene.journal("-t", "jimengd", f"JOB_ID={job}") if "STATE" in entry]
    return [state for index, state in enumerate(told) if index == 0 or told[index - 1] != state]
