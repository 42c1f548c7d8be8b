"""The API that the machines' daemons talk to: `jimengd simulate`, in a machine's network but outside of the machine.

So it goes on while the machine reboots, and what it was paid is not forgotten.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import Wrong, until

ADDRESS = "127.0.0.1:8787"
BASE_URL = f"http://{ADDRESS}"

# A submission whose prompt holds this is answered late.
SLOW_WORDS = "slowly taken"
SLOW_SECONDS = 3
SCRIPT = f'- {{on: submit, prompt: "{SLOW_WORDS}", do: {{delay: {SLOW_SECONDS}}}}}\n'

# Tasks whose prompt does not say how long they take.
TASK_SECONDS = "0.5"

ASK = f"import urllib.request; print(urllib.request.urlopen('{BASE_URL}/simulator', timeout=10).read().decode())"


class Simulator:
    """One simulator; it remembers from its start to its end."""

    def __init__(self, program: Path, token: str, network: str, folder: Path) -> None:
        self._network = network
        self._log = folder / "simulator.log"
        (folder / "simulator.yaml").write_text(SCRIPT)
        (folder / "simulator.token").write_text(token)
        command = [
            "setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={network}", "--",
            str(program), "simulate", "--listen", ADDRESS, "--token-file", str(folder / "simulator.token"),
            "--script", str(folder / "simulator.yaml"), "--task-seconds", TASK_SECONDS, "--concurrency", "0",
        ]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("the simulator to listen", self._listens, 20)

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tasks(self) -> list[dict[str, Any]]:
        """Every task that was accepted and so paid, oldest first."""
        done = self._ask()
        if done.returncode:
            raise Wrong(f"the simulator does not answer: {done.stderr}{self._log.read_text(errors='replace')[-2000:]}")
        said = json.loads(done.stdout)
        if said["paid"] != len(said["tasks"]):
            raise Wrong(f"the simulator was paid {said['paid']} times for {len(said['tasks'])} tasks")
        return said["tasks"]

    def paid(self, prompt: str) -> int:
        """How often that prompt was paid for."""
        return len([task for task in self.tasks() if task["prompt"] == prompt])

    def is_at_work(self, prompt: str) -> bool:
        """Whether a task of that prompt was accepted and is not over."""
        return any(task["prompt"] == prompt and task["status"] in ("in_queue", "generating") for task in self.tasks())

    def complaints(self) -> list[str]:
        """What it logged of requests that were not as the API's page wants them."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if "against the page" in line]

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise Wrong(f"the simulator ended: {self._log.read_text(errors='replace')}")
        return not self._ask().returncode

    def _ask(self) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--net={self._network}", "--", sys.executable, "-I", "-S", "-c", ASK]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
