"""The commands of README.md's section about the service, word by word."""

import re
from dataclasses import dataclass
from pathlib import Path

from lab import Wrong

README = Path(__file__).resolve().parents[2] / "README.md"
HEADING = "## As a service"

# A block with any of these is not for root: who it is for is said in a comment, or it is about a home.
PERSONAL = re.compile(r"# alice\b|systemctl --user|~/")


@dataclass(frozen=True)
class Command:
    """One command, and whether a person runs it as herself and not as root."""

    line: str
    is_personal: bool


def section() -> str:
    """The section's text."""
    text = README.read_text()
    found = re.search(rf"^{re.escape(HEADING)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise Wrong(f"README.md has no section {HEADING!r}")
    return found[1]


def commands() -> list[Command]:
    """Every command of the section's shell blocks, in order; lines that end in a backslash are one with the next."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL):
        is_personal = bool(PERSONAL.search(block))
        lines = block.replace("\\\n", " ").splitlines()
        found += [Command(line, is_personal) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise Wrong(f"README.md's section {HEADING!r} has no commands")
    for command in found:
        if "…" in command.line.partition(" #")[0]:
            raise Wrong(f"nobody knows what stands for … in README.md's `{command.line}`")
    return found
