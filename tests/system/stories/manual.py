"""README.md's section about the service, as somebody follows it."""

from collections.abc import Callable

import readme
from lab import Wrong, until
from scene import MEMBER, PACKAGE, PICTURE_SOURCE, TOKEN, UNIT, Scene, wanted
from stories.places import linger

# Where somebody sits who follows it: root, and a member.
DESK = "/srv/desk"
HOME = f"/home/{MEMBER}"

# The files with tokens that README.md leaves to its reader.
TOKEN_FILES = (f"{DESK}/token.txt", f"{DESK}/studio-token.txt", f"{HOME}/token.txt")

# What must have come of a command, by how it begins, before the next one is run.
OUTCOMES: dict[str, Callable[[Scene, str], object]] = {
    "systemctl enable --now jimengd ": lambda scene, said: is_up(scene, UNIT),
    "systemctl enable --now jimengd@studio ": lambda scene, said: is_up(scene, "jimengd@studio.service"),
    "systemctl restart jimengd ": lambda scene, said: is_up(scene, UNIT),
    "cp cat.jpg cat.yaml ": lambda scene, said: until(
        "the status line to count the video", lambda: "1 delivered" in scene.show("StatusText")),
    "systemctl status jimengd ": lambda scene, said: wanted("it says delivered", "1 delivered" in said, said),
    "jimengd status ": lambda scene, said: wanted("it runs", "is running" in said, said),
    "journalctl -t jimengd PAIR=cat ": lambda scene, said: wanted("it tells the delivery", "delivered" in said, said),
    "systemctl --user enable --now jimengd ": lambda scene, said: until(
        "the member's own inbox", lambda: scene.machine.exists(f"{HOME}/jimengd/inbox")),
}


def word_by_word(scene: Scene) -> str:
    """Every command of the section, in order."""
    machine = scene.machine
    commands = readme.commands()
    for beginning in OUTCOMES:
        if not any(command.line.startswith(beginning.rstrip()) for command in commands):
            raise Wrong(f"README.md has no command any more that begins with `{beginning}`")
    prompt = "lab: as README.md says"
    scene.prompts.append(prompt)
    for folder, owner in ((DESK, "root:root"), (HOME, f"{MEMBER}:{MEMBER}")):
        machine.put(f"{folder}/cat.jpg", PICTURE_SOURCE.read_bytes(), owner=owner)
        machine.put(f"{folder}/cat.yaml", f'prompt: "{prompt}"\n', owner=owner)
    for path in TOKEN_FILES:
        machine.put(path, TOKEN + "\n", "600", f"{MEMBER}:{MEMBER}" if path.startswith(HOME) else "root:root")
    machine.run("cp", f"{PACKAGE}/{scene.package.name}", DESK)
    environment = linger(scene)
    for command in commands:
        follow(scene, command, environment)
    # The last block's restart has the token from somewhere else.
    scene.paid_once(prompt, one_more(scene))
    return f"README.md's {len(commands)} commands about the service, word by word"


def one_more(scene: Scene) -> str:
    """One more pair at the end: the service still works."""
    prompt = scene.drop("after-all")
    scene.video("after-all")
    return prompt


def follow(scene: Scene, command: readme.Command, environment: dict[str, str]) -> None:
    """Runs one command as who is meant to run it, and waits for what must come of it."""
    # Through standard input, for command lines may get into the journal, and a token in one of them must not.
    words = ("bash", "-c", 'eval "$(cat)"')
    if command.is_personal:
        done = scene.machine.run(*words, stdin=command.line, user=MEMBER, folder=HOME, environment=environment,
                                 check=False)
    else:
        done = scene.machine.run(*words, stdin=command.line, folder=DESK, check=False)
    said = done.stdout + done.stderr
    wanted(f"README.md's `{command.line}` succeeds", not done.returncode, done.returncode, said[-2000:])
    for beginning, outcome in OUTCOMES.items():
        # A space after it: not the command that only begins like it.
        if (command.line + " ").startswith(beginning):
            outcome(scene, said)


def is_up(scene: Scene, unit: str) -> None:
    """Waits for a unit to be up."""
    until(f"{unit} to be up", lambda: scene.is_active(unit))
