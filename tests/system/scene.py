"""Where a story plays: a machine, the API played beside it, the package, and what people there do again and again."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Machine, Wrong, until
from simulator import BASE_URL, Simulator

UNIT = "jimengd.service"
ROOT = "/var/lib/jimengd"
SETTINGS_FILE = "/etc/jimengd/jimengd.yaml"
TOKEN_FILE = "/etc/jimengd/api-token"

# Nothing else holds these letters, so any place where they are found has the token.
TOKEN = "sk-lab-9f4b7d21c86e"

# One that the API does not take. Both are secrets.
WRONG_TOKEN = "sk-lab-50e3c8a7f16b"

# A person in the group jimengd, and one who is not.
MEMBER = "alice"
STRANGER = "bob"

# A picture that everybody on the machine may read.
PICTURE = "/srv/lab/cat.jpg"
PICTURE_SOURCE = Path(__file__).resolve().parents[1] / "fixtures/pictures/baseline.jpg"

# Where the package lies on the machine.
PACKAGE = "/srv/lab/packages"

# The simulator's address and a quick pace, for every service of the package.
LAB_SETTINGS = f"""[Service]
Environment=JIMENGD_API__BASE_URL={BASE_URL}
Environment=JIMENGD_API__ALLOW_INSECURE=true
Environment=JIMENGD_API__REQUESTS_PER_SECOND=0
Environment=JIMENGD_POLL__FIRST=300ms
Environment=JIMENGD_POLL__EVERY=200ms
Environment=JIMENGD_POLL__SLOWEST=1s
Environment=JIMENGD_MIN_FREE=null
RestartSec=500ms
LimitCORE=0
"""
LAB_DROP_INS = (
    "/etc/systemd/system/jimengd.service.d/lab.conf",
    "/etc/systemd/system/jimengd@.service.d/lab.conf",
    "/etc/systemd/user/jimengd.service.d/lab.conf",
)

# Where drop-ins of single stories lie; gone with the boot, and easily taken away.
STORY_DROP_INS = "/run/systemd/system"

# How much of the journal is shown with a failure, and whose entries.
EVIDENCE_LINES = 30
EVIDENCE_COLUMNS = 300
EVIDENCE_FROM = ("jimengd", "systemd")

DROP = """
umask "$1"
cp "$2" "$3/$4.jpg"
printf 'prompt: "%s"\\n' "$5" >"$3/$4.yaml"
"""


@dataclass
class Scene:
    """One machine with everything that belongs to it."""

    machine: Machine
    simulator: Simulator
    package: Path
    debug_program: Path
    # A folder on the host for what a story makes there.
    scratch: Path
    # Every prompt that was dropped and may be paid for once.
    prompts: list[str] = field(default_factory=list)

    def furnish(self) -> None:
        """Brings people, a picture, the package and the lab's settings to a new machine."""
        self.machine.shell(f"useradd -m -s /bin/bash {MEMBER}; useradd -m -s /bin/bash {STRANGER}")
        self.machine.put(PICTURE, PICTURE_SOURCE.read_bytes())
        self.machine.put(f"{PACKAGE}/{self.package.name}", self.package.read_bytes())
        for path in LAB_DROP_INS:
            self.machine.put(path, LAB_SETTINGS)

    def install(self) -> str:
        """Installs the package as a person does; returns what apt said."""
        said = self.machine.run("apt-get", "install", "--yes", f"./{self.package.name}", folder=PACKAGE).stdout
        self.machine.run("usermod", "-aG", "jimengd", MEMBER)
        return said

    def is_installed(self) -> bool:
        """Whether the package is installed."""
        shown = self.machine.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "jimengd", check=False).stdout
        return shown == "installed"

    def serving(self) -> None:
        """Whatever was before: the package is installed, the token is there, the service runs."""
        if not self.is_installed():
            self.install()
        if not self.machine.exists(TOKEN_FILE):
            self.machine.put(TOKEN_FILE, TOKEN + "\n", "600")
        if self.show("ActiveState") != "active":
            self.machine.run("systemctl", "start", UNIT)

    def mend(self) -> None:
        """Takes back what a story that failed may have left, so that the next one can be told."""
        self.machine.shell(
            f"""
            pkill -CONT -x systemd-journal || :
            rm -rf {STORY_DROP_INS}/jimengd*.d
            systemctl daemon-reload
            systemctl stop 'jimengd*.service' || :
            systemctl reset-failed
            [ ! -e {SETTINGS_FILE} ] || echo >{SETTINGS_FILE}
            """,
            check=False,
        )

    def show(self, name: str, unit: str = UNIT) -> str:
        """One property of a unit."""
        return self.machine.run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()

    def is_active(self, unit: str = UNIT) -> bool:
        """Whether the unit is up and not on its way."""
        return self.show("ActiveState", unit) == "active"

    def drop(self, name: str, prompt: str | None = None, *, user: str = MEMBER, inbox: str = f"{ROOT}/inbox",
             umask: str = "022") -> str:
        """Copies a picture and a sidecar of that name into the inbox; returns the prompt, which is no other pair's."""
        prompt = prompt or f"lab: {name}"
        self.prompts.append(prompt)
        self.machine.shell(DROP, umask, PICTURE, inbox, name, prompt, user=user)
        return prompt

    def video(self, name: str, root: str = ROOT, seconds: float = 60) -> str:
        """Waits for a video; returns its path."""
        path = f"{root}/outbox/{name}.mp4"
        until(f"{path}, the video", lambda: self.machine.exists(path), seconds)
        return path

    def failed(self, name: str) -> dict[str, str]:
        """Waits for a pair's report in error/; returns its plain keys."""
        path = f"{ROOT}/error/{name}.error.yaml"
        until(f"{path}, the report", lambda: self.machine.exists(path))
        return dict(re.findall(r'^(\w+): "?(.*?)"?$', self.machine.read(path), re.MULTILINE))

    def in_flight(self, prompt: str) -> None:
        """Waits until the API works on a task of that prompt."""
        until(f"a task of {prompt!r}", lambda: self.simulator.is_at_work(prompt))

    def still_in_flight(self, prompt: str) -> None:
        """Fails if the task is over: then whatever was done did not come in its middle."""
        if not self.simulator.is_at_work(prompt):
            raise Wrong(f"the task of {prompt!r} was over too early for this story to show anything")

    def paid_once(self, *prompts: str) -> None:
        """Fails unless each of them was paid for once."""
        for prompt in prompts:
            times = self.simulator.paid(prompt)
            if times != 1:
                raise Wrong(f"{prompt!r} was paid for {times} times")

    def journal(self, *matches: str, since: float = 0) -> list[dict[str, Any]]:
        """The entries of the journal that match and are not older than `since`, oldest first."""
        self.machine.run("journalctl", "--sync")
        said = self.machine.run("journalctl", "--output=json", "--no-pager", "--all", *matches).stdout
        entries = [json.loads(line) for line in said.splitlines()]
        # Not by a cursor: where a journal has several files, one of another file may hide entries.
        return [entry for entry in entries if int(entry["__REALTIME_TIMESTAMP"]) >= since * 1_000_000]

    def job(self, pair: str) -> str:
        """The latest job of the pair, as the journal names it."""
        told = until(f"an entry about {pair}", lambda: [
            entry["JOB_ID"] for entry in self.journal("-t", "jimengd", f"PAIR={pair}") if "JOB_ID" in entry
        ])
        return told[-1]

    @contextmanager
    def drop_in(self, text: str, unit: str = UNIT) -> Iterator[None]:
        """More settings of a unit, for as long as the block; they hold from its next start."""
        path = f"{STORY_DROP_INS}/{unit}.d/zz-story.conf"
        self.machine.put(path, text)
        self.machine.run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            self.machine.run("rm", "-f", path)
            self.machine.run("systemctl", "daemon-reload")

    @contextmanager
    def settings(self, text: str, path: str = SETTINGS_FILE, owner: str = "root:root") -> Iterator[None]:
        """Another configuration for as long as the block; nobody is told of it."""
        before = self.machine.read(path)
        self.machine.put(path, text, owner=owner)
        try:
            yield
        finally:
            self.machine.put(path, before, owner=owner)

    @contextmanager
    def token(self, text: str) -> Iterator[None]:
        """Another token in the file for as long as the block; the service has it from its next start."""
        self.machine.put(TOKEN_FILE, text + "\n", "600")
        try:
            yield
        finally:
            self.machine.put(TOKEN_FILE, TOKEN + "\n", "600")

    def evidence(self) -> str:
        """How the service stands and what the journal says last: what a failure is shown with."""
        shown = self.machine.run("systemctl", "status", "--no-pager", "--lines=0", "jimengd*", check=False).stdout
        last = self.machine.run("journalctl", "--no-pager", f"--lines={EVIDENCE_LINES}", "--output=short-precise",
                                *(f"SYSLOG_IDENTIFIER={name}" for name in EVIDENCE_FROM), check=False).stdout
        return "\n".join(line[:EVIDENCE_COLUMNS] for line in f"{shown}\n{last}".splitlines())


def wanted(what: str, is_so: object, *seen: object) -> None:
    """Fails with what should have been so, and what was seen instead, unless it is so."""
    if not is_so:
        raise Wrong(f"it should be so: {what}" + "".join(f"; seen: {one}" for one in seen))
