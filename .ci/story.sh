#!/usr/bin/env bash
# A day with jimengd, by hand: the real programs, real files in real folders, and the ways in which people and their tools put
# files there. $1 is the program. Everything that was dropped must become a video, and be paid for once.
set -euo pipefail

program=$(realpath "$1")
pictures=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/fixtures/pictures" && pwd)

# Seconds for what should take far fewer.
START_SECONDS=20
VIDEO_SECONDS=60
FOLDER_SECONDS=120
STOP_SECONDS=20
PAIRS_IN_FOLDER=50

export JIMENGD_API_TOKEN=story-token
# No proxy of this machine stands between the two programs.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

dir=$(mktemp -d)
inbox=$dir/spool/inbox
outbox=$dir/spool/outbox
dropped=0
simulator=
daemon=
reason=

finish() {
    local status=$? process log
    for process in $daemon $simulator; do
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    if ((status != 0)); then
        echo "--- the spool"
        find "$dir/spool" -mindepth 1 -printf '%y %P\n' 2>/dev/null | sort
        for log in simulator daemon; do
            echo "--- the end of $log.log"
            tail -n 40 "$dir/$log.log" 2>/dev/null || true
        done
        echo "FAILED: ${reason:-a command ended with $status}" >&2
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT

# Ends the story; the reason comes after what was seen.
fail() {
    reason=$*
    exit 1
}

tell() {
    printf '%3d s  %s\n' "$SECONDS" "$*"
}

# Waits until the command $3… succeeds, at most $1 seconds; $2 says what is awaited. A dead daemon is not waited for.
await() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [[ -z $daemon ]] || alive "$daemon" || fail "the daemon died while waiting for $what"
        ((SECONDS < deadline)) || fail "waited in vain for $what"
        sleep 0.1
    done
}

alive() {
    kill -0 "$1" 2>/dev/null
}

gone() {
    ! alive "$1"
}

# A prompt that no other pair has, so that the simulator would show it if one were paid twice.
sidecar() {
    printf 'prompt: %s\naspect_ratio: "%s"\n' "$1" "${2:-16:9}"
}

videos_are() {
    (($(find "$outbox/$1" -name '*.mp4' 2>/dev/null | wc -l) == $2))
}

# The value at the path $2 of the JSON document on standard input.
json() {
    python3 -c 'import json, sys; print(eval("document" + sys.argv[1], {"document": json.load(sys.stdin)}))' "$1"
}

asks_simulator() {
    python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())' "$base_url/simulator"
}

# The video $1 and its receipt are there, and the receipt holds the picture as it was meant to be, $2.
delivered() {
    local video=$outbox/$1.mp4 receipt=$outbox/$1.receipt.yaml
    await "$VIDEO_SECONDS" "$1.mp4" test -e "$video"
    [[ -f $receipt ]] || fail "$1.mp4 is there without its receipt"
    [[ $(ffprobe -v error -select_streams v:0 -show_entries stream=codec_name -of csv=p=0 "$video") == h264 ]] || fail "$1.mp4 is no video"
    grep -q "$(sha256sum <"$2" | cut -d' ' -f1)" "$receipt" || fail "$1 was made of another picture than was dropped"
    tell "$1.mp4: $3"
}

## Pairs that lie there before anything runs.
mkdir -p "$inbox" "$dir/desk"
for n in 1 2 3; do
    cp "$pictures/baseline.jpg" "$inbox/early-$n.jpg"
    sidecar "Waiting since before the start, $n" >"$inbox/early-$n.yaml"
    dropped=$((dropped + 1))
done

## The API, played on a port that is free.
"$program" simulate --listen 127.0.0.1:0 --token "$JIMENGD_API_TOKEN" --task-seconds 0.3 --concurrency 4 >"$dir/simulator.log" 2>&1 &
simulator=$!
await "$START_SECONDS" "the simulator's address" grep -q 'http://127.0.0.1:' "$dir/simulator.log"
base_url=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$dir/simulator.log" | head -n 1)
tell "the simulator listens on $base_url"

## The daemon.
cat >"$dir/jimengd.yaml" <<YAML
root: $dir/spool
min_free: null
api: {base_url: "$base_url", allow_insecure: true, requests_per_second: 0}
poll: {first: 300ms, every: 200ms, slowest: 1s}
log: {format: text}
YAML
"$program" run --config "$dir/jimengd.yaml" >"$dir/daemon.log" 2>&1 &
daemon=$!
for n in 1 2 3; do
    delivered "early-$n" "$pictures/baseline.jpg" "lay there before the start"
done

## Copied: the picture first, and the other way round.
cp "$pictures/progressive.jpg" "$inbox/picture-first.jpg"
sidecar "The picture comes first" >"$inbox/picture-first.yaml"
sidecar "The words come first" 9:16 >"$inbox/words-first.yaml"
cp "$pictures/restart.jpg" "$inbox/words-first.jpg"
dropped=$((dropped + 2))
delivered picture-first "$pictures/progressive.jpg" "copied, picture then YAML"
delivered words-first "$pictures/restart.jpg" "copied, YAML then picture"

## Moved, whole in an instant.
cp "$pictures/baseline.jpg" "$dir/desk/moved.jpg"
sidecar "Moved from the desk" 1:1 >"$dir/desk/moved.yaml"
mv "$dir/desk/moved.jpg" "$dir/desk/moved.yaml" "$inbox/"
dropped=$((dropped + 1))
delivered moved "$pictures/baseline.jpg" "moved, both at once"

## Written slowly: the pauses are longer than the rest that lets a closed file count as settled, and the YAML is closed twice.
python3 - "$pictures/progressive.jpg" "$inbox/slow" <<'PYTHON'
import sys, time

source, target = sys.argv[1:]
content = open(source, "rb").read()
piece = len(content) // 8 + 1
with open(target + ".yaml", "w") as sidecar:
    sidecar.write("prompt: Written ")
    sidecar.flush()
    with open(target + ".jpg", "wb") as picture:
        for start in range(0, len(content), piece):
            picture.write(content[start : start + piece])
            picture.flush()
            time.sleep(0.4)
    sidecar.write("slowly\n")
with open(target + ".yaml", "a") as sidecar:
    sidecar.write("seed: 4711\n")
PYTHON
dropped=$((dropped + 1))
delivered slow "$pictures/progressive.jpg" "written in pieces"
for line in 'prompt: Written slowly' 'seed: 4711'; do
    grep -qx "$line" "$outbox/slow.receipt.yaml" || fail "the slow sidecar was read before it was whole: no $line"
done

## A folder with many pairs, moved in at once.
mkdir "$dir/desk/holiday"
for ((n = 1; n <= PAIRS_IN_FOLDER; n++)); do
    cp "$pictures/baseline.jpg" "$dir/desk/holiday/day-$n.jpg"
    sidecar "Day $n of the holiday" 4:3 >"$dir/desk/holiday/day-$n.yaml"
done
mv "$dir/desk/holiday" "$inbox/"
dropped=$((dropped + PAIRS_IN_FOLDER))
await "$FOLDER_SECONDS" "the $PAIRS_IN_FOLDER videos of the folder" videos_are holiday "$PAIRS_IN_FOLDER"
tell "a folder of $PAIRS_IN_FOLDER pairs"

## The end: asked to stop it stops, and says so by its exit code.
kill -TERM "$daemon"
stopping=$daemon
daemon=
await "$STOP_SECONDS" "the daemon's end" gone "$stopping"
code=0
wait "$stopping" || code=$?
((code == 0)) || fail "SIGTERM: exit code $code"
tell "SIGTERM: exit code 0"

## The account: what was paid is what was dropped, and everything is where it belongs.
videos_are . "$dropped" || fail "$(find "$outbox" -name '*.mp4' | wc -l) videos for $dropped pairs"
paid=$(asks_simulator | json "['paid']")
((paid == dropped)) || fail "paid $paid times for $dropped pairs"
for folder in inbox error; do
    left=$(find "$dir/spool/$folder" -type f)
    [[ -z $left ]] || fail "left in $folder: $left"
done
left=$(find "$dir/spool/work" -mindepth 1 -type d)
[[ -z $left ]] || fail "left in work: $left"
said=$("$program" status --config "$dir/jimengd.yaml" --json | json "['counts']['delivered']") || fail "status tells nothing that can be read"
((said == dropped)) || fail "status tells $said delivered, not $dropped"

kill -TERM "$simulator"
wait "$simulator" || fail "the simulator: exit code $?"
simulator=
if grep 'against the page of the API' "$dir/simulator.log"; then
    fail "requests were not what the API's page says"
fi
tell "$dropped pairs, $dropped videos, paid $paid times"
