#!/bin/bash
# What somebody would write in an afternoon instead: a loop over the inbox with inotifywait, jq and curl.
#
# loop.sh ROOT URL WORKERS     as many pairs at once as there are workers; each is asked about every 0.3 s
#
# It keeps no record, syncs nothing, and tries nothing again. Each video that has come is a line `delivered NAME`.
set -u
export ROOT=$1 URL=$2
workers=$3

one() {
    local name=$1 answer task link
    # Either file may have come last.
    [[ -f $ROOT/inbox/$name.png && -f $ROOT/inbox/$name.yaml ]] || return 0
    mv "$ROOT/inbox/$name.png" "$ROOT/inbox/$name.yaml" "$ROOT/work/" 2>/dev/null || return 0
    answer=$(base64 -w0 "$ROOT/work/$name.png" | jq -Rc \
        --arg prompt "$(sed -n 's/^prompt: *//p' "$ROOT/work/$name.yaml")" \
        --argjson seed "$(sed -n 's/^seed: *//p' "$ROOT/work/$name.yaml")" \
        '{prompt: $prompt, seed: $seed, binary_data_base64: [.]}' |
        curl -sS -H 'Authorization: Bearer benchmark' -H 'Content-Type: application/json' --data-binary @- \
            "$URL/task/jimeng/image2video")
    task=$(jq -r '.data.task_id // empty' <<<"$answer")
    [[ -n $task ]] || { echo "refused $name $answer"; return 0; }
    while :; do
        sleep 0.3
        answer=$(curl -sS -H 'Authorization: Bearer benchmark' "$URL/task/$task")
        link=$(jq -r 'select(.data.status == "done") | .data.video_url' <<<"$answer")
        [[ -z $link ]] || break
    done
    curl -sS -o "$ROOT/outbox/.$name.part" "$link" || { echo "broken $name"; return 0; }
    mv "$ROOT/outbox/.$name.part" "$ROOT/outbox/$name.mp4"
    mv "$ROOT/work/$name.png" "$ROOT/work/$name.yaml" "$ROOT/archive/"
    echo "delivered $name"
}
export -f one

# Where the benchmark ends before its end, this ends, too.
(while [[ -d /proc/$PPID ]]; do sleep 1; done; kill -TERM 0) >/dev/null 2>&1 &

inotifywait -m -e close_write,moved_to --format %f "$ROOT/inbox" |
    stdbuf -oL sed -n 's/\.yaml$//p' |
    xargs -d '\n' -P "$workers" -I{} bash -c 'one "$1"' one {}
