"""What people drop, and who may see what comes of it."""

import re

from lab import until
from scene import MEMBER, PICTURE, ROOT, STRANGER, Scene, wanted

INBOX, OUTBOX, ERROR, ARCHIVE = f"{ROOT}/inbox", f"{ROOT}/outbox", f"{ROOT}/error", f"{ROOT}/archive"

# The folders below a root that people and daemon share.
SHARED = ("inbox", "outbox", "error", "archive")


def a_pair(scene: Scene) -> str:
    """A member's pair becomes a video that members can read and nobody else."""
    scene.serving()
    prompt = scene.drop("cat")
    video = scene.video("cat")
    read_by_member(scene, video)
    for path in (INBOX, OUTBOX, ROOT):
        done = scene.machine.run("ls", path, user=STRANGER, check=False)
        wanted(f"{STRANGER} cannot list {path}", done.returncode, done.stdout)
    done = scene.machine.run("cat", video, user=STRANGER, check=False)
    wanted(f"{STRANGER} cannot read {video}", done.returncode)
    scene.paid_once(prompt)
    return "a pair dropped by a member becomes a video that members read; a stranger neither lists nor reads"


def a_folder(scene: Scene) -> str:
    """A member makes a folder of her own, with an umask that is not made for sharing."""
    scene.serving()
    scene.machine.shell('umask 022; mkdir "$1"', f"{INBOX}/album", user=MEMBER)
    prompt = scene.drop("album/dog", "lab: a dog in an album")
    read_by_member(scene, scene.video("album/dog"))
    until("the album to be empty", lambda: not scene.machine.exists(f"{INBOX}/album/dog.jpg"))
    scene.paid_once(prompt)
    return "the same from a subfolder that she made under umask 022"


def her_folders_elsewhere(scene: Scene) -> str:
    """A member makes folders in the way of what is delivered, with an umask that is not made for sharing."""
    machine = scene.machine
    scene.serving()
    made = [f"{folder}/shoes" for folder in (OUTBOX, ARCHIVE, INBOX)]
    try:
        machine.shell('umask 022; mkdir "$@"', *made, user=MEMBER)
        prompt = scene.drop("shoes/red", "lab: red shoes")
        video = scene.video("shoes/red", seconds=20)
        read_by_member(scene, video)
        until("the picture in the archive", lambda: machine.exists(f"{ARCHIVE}/shoes/red.jpg"))
        machine.shell('mv "$1" ~/', video, user=MEMBER)
    finally:
        # A delivery that they stop would stop the stories after this one, too.
        machine.run("rm", "-rf", *made)
    scene.paid_once(prompt)
    return "folders that she made in outbox and archive under umask 022 take what comes of her pairs; she moves it away"


def a_closed_umask(scene: Scene) -> str:
    """A program that asks for the usual rights under the most closed umask: the folder's own rules open its files."""
    scene.serving()
    prompt = "lab: a closed umask"
    scene.prompts.append(prompt)
    script = 'umask 077; cat "$1" >"$2/closed.jpg"; echo "prompt: \\"$3\\"" >"$2/closed.yaml"'
    scene.machine.shell(script, PICTURE, INBOX, prompt, user=MEMBER)
    read_by_member(scene, scene.video("closed"))
    scene.paid_once(prompt)
    return "files written under umask 077 are taken, for the folder's own rules open them"


def a_private_file(scene: Scene) -> str:
    """Rights that were really taken away: the pair waits, and status says what helps."""
    scene.serving()
    prompt = "lab: a private file"
    scene.prompts.append(prompt)
    script = """
    install -m 600 "$1" "$2/private.jpg"
    echo "prompt: \\"$3\\"" >"$2/private.yaml"
    """
    scene.machine.shell(script, PICTURE, INBOX, prompt, user=MEMBER)

    def advice() -> list[str]:
        page = scene.machine.run("jimengd", "status", check=False).stdout
        return re.findall(rf"(chmod \S+ {INBOX}/private\.jpg)", page)

    told = until("jimengd status to name the chmod that helps", advice)[0]
    wanted("nothing was sent before", scene.simulator.paid(prompt) == 0)
    scene.machine.shell(told, user=MEMBER)
    scene.video("private")
    scene.paid_once(prompt)
    return f"a file of mode 600 waits; status says `{told.replace(INBOX, '…')}`, which makes it go on"


def again_after_a_failure(scene: Scene) -> str:
    """A failed pair is edited where it lies and moved back."""
    scene.serving()
    refused = scene.drop("refused", "lab: refused [50412]")
    report = scene.failed("refused")
    wanted("the report names the code", report.get("code") == "50412", report)
    prompt = "lab: reworded"
    scene.prompts.append(prompt)
    scene.machine.shell(
        """
        echo "prompt: \\"$3\\"" >"$1/refused.yaml"
        mv "$1/refused.jpg" "$1/refused.yaml" "$2/"
        """,
        ERROR, INBOX, prompt, user=MEMBER)
    read_by_member(scene, scene.video("refused"))
    wanted("the refusal was not paid for", scene.simulator.paid(refused) == 0)
    scene.paid_once(prompt)
    return "a refused pair is edited in error/ by the member, moved back by her, and becomes a video"


def open_to_the_group(scene: Scene, folder: str) -> None:
    """Fails unless whatever is made in the folder is the group's, whatever the umask, and nobody else's."""
    words = ("getfacl", "--absolute-names", "--omit-header", "--default", folder)
    lines = scene.machine.run(*words).stdout.split()
    wanted(f"new files in {folder} are open to the group, whatever the umask",
           any(line.startswith(("group::rw", "group:jimengd:rw")) for line in lines), lines)
    wanted(f"new files in {folder} are nobody else's", "other::---" in lines, lines)


def read_by_member(scene: Scene, video: str) -> None:
    """Fails unless a member can read the video and it is one."""
    head = scene.machine.shell('head -c 12 "$1" | tail -c 8 | head -c 4', video, user=MEMBER)
    wanted(f"{MEMBER} reads a video at {video}", head == "ftyp", head)
