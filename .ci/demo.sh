#!/usr/bin/env bash
# Looks at what `jimengd demo` left behind in the folder $1, as somebody who does not trust the demo's own word.
set -euo pipefail

root=$1
VIDEOS_MIN=7
declare -A SIZE_OF=([16:9]=1280x720 [9:16]=720x1280 [9:21]=720x1680 [1:1]=960x960 [4:3]=960x720 [3:4]=720x960 [21:9]=1680x720)

fail() {
    echo "FAILED: $*" >&2
    find "$root" -mindepth 1 -printf '  %y %P\n' | sort >&2
    exit 1
}

# The value of the top-level key $2 in the YAML file $1, without quotes.
value() {
    sed -nE "s/^$2: *//p" "$1" | tr -d "'\""
}

# How many of the files named like $1 below $2 hold the line $3.
holding() {
    find "$2" -name "$1" -exec grep -lxE "$3" {} + | wc -l
}

exactly() {
    [[ $2 == "$1" ]] || fail "$3: $2, not $1"
}

declare -A sizes=() sums=()
videos=0
while IFS= read -r -d '' video; do
    videos=$((videos + 1))
    receipt=${video%.mp4}.receipt.yaml
    [[ -f $receipt ]] || fail "$video has no receipt"
    codec=$(ffprobe -v error -select_streams v:0 -show_entries stream=codec_name -of csv=p=0 "$video")
    size=$(ffprobe -v error -select_streams v:0 -show_entries stream=width,height -of csv=p=0:s=x "$video")
    sum=$(sha256sum "$video" | cut -d' ' -f1)
    ratio=$(value "$receipt" aspect_ratio)
    exactly h264 "$codec" "codec of $video"
    exactly "${SIZE_OF[$ratio]:-no such ratio}" "$size" "size of $video, whose receipt says $ratio"
    complaints=$(ffmpeg -nostdin -v error -xerror -i "$video" -f null - 2>&1) || fail "$video cannot be decoded: $complaints"
    [[ -z $complaints ]] || fail "$video: $complaints"
    grep -q "$sum" "$receipt" || fail "$receipt does not hold the video's sha256"
    [[ -z ${sums[$sum]:-} ]] || fail "$video is the same as ${sums[$sum]}"
    sums[$sum]=$video
    sizes[$size]=$video
    echo "$size  $ratio  ${sum:0:12}  ${video#"$root"/}"
done < <(find "$root/outbox" -name '*.mp4' -print0 | sort -z)

((videos >= VIDEOS_MIN)) || fail "$videos videos in outbox, not $VIDEOS_MIN"
exactly 7 "${#sizes[@]}" "different sizes of videos"
exactly 1 "$(holding '*.error.yaml' "$root/error" 'code: 50412')" "reports with code 50412"
exactly 1 "$(holding '*.error.yaml' "$root/error" 'reason: invalid_sidecar')" "reports with reason invalid_sidecar"
refused=$(find "$root/error" -name '*.error.yaml' -exec grep -lx 'reason: invalid_sidecar' {} +)
exactly 0 "$(value "$refused" attempts)" "attempts in $refused"
exactly 1 "$(holding '*.receipt.yaml' "$root/outbox" 'attempts: 2')" "receipts with two attempts"
exactly 0 "$(find "$root/inbox" -type f | wc -l)" "files left in inbox"
exactly 0 "$(find "$root/work" -mindepth 1 -type d | wc -l)" "job folders left in work"
exactly 0 "$(find "$root/outbox" -name '.*' -type f | wc -l)" "unfinished files in outbox"
echo "the demo: $videos videos, ${#sizes[@]} sizes, every one decoded; its reports and receipts are as they should be"
