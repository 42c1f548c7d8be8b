#!/usr/bin/env bash
# Fuzzes every target for SECONDS seconds each (120), as many at once as there are cores:
#
#     tests/fuzz/run.sh [SECONDS] [TARGET…]
#
# Needs cargo-fuzz 0.13 and g++, and no nightly toolchain. A line a target is told; what was found is kept and named. Ends with 1 if
# anything was found, or if a target did not really run. The kept corpus is read and never written; what is new lies under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-120}
shift || true
folder=tests/fuzz
built=$PWD/target/fuzz
finds=$built/finds

# One input may take this long, also on a busy machine: what is linear in the program's limits takes a hundredth of it.
INPUT_SECONDS=10
RSS_MB=1024
# Edges that every target reaches; fewer mean that nothing was instrumented.
COVERAGE_MIN=200

# Bytes of an input: a little over what the program itself takes, or as much as it takes to reach every branch.
max_len() {
    case $1 in
        sidecar | config) echo 66000 ;;
        picture) echo 16384 ;;
        video | wire) echo 8192 ;;
        names) echo 4096 ;;
        *) echo "no such target: $1" >&2; return 1 ;;
    esac
}

mapfile -t targets < <(cd $folder/targets && ls -- *.rs | sed 's/\.rs$//')
(($# == 0)) || targets=("$@")

# No sanitizer: the crate forbids unsafe code, so what there is to find are panics, hangs and wrong answers, and those come sooner
# without one. What is left of the instrumentation the stable compiler can do.
cargo fuzz build --fuzz-dir $folder --target-dir "$built" --sanitizer none
binaries=$built/$(rustc -vV | sed -n 's/^host: //p')/release

# Runs one target and tells its line; the log says what happened.
fuzz() {
    local name=$1 corpus=$folder/corpus/$1 log=$built/$1.log scratch status=0 executed rate coverage size seeds dictionary=()
    scratch=$(mktemp -d "$built/$name.XXXXXX")
    mkdir -p "$finds/$name"
    [[ ! -f $folder/$name.dict ]] || dictionary=("-dict=$folder/$name.dict")
    seeds=$(find "$corpus" -type f | wc -l)
    "$binaries/$name" -max_total_time="$seconds" -timeout=$INPUT_SECONDS -rss_limit_mb=$RSS_MB -max_len="$(max_len "$name")" \
        -print_final_stats=1 -artifact_prefix="$finds/$name/" "${dictionary[@]}" "$scratch" "$corpus" >"$log" 2>&1 || status=$?
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+' || true)
    size=$(grep -oE 'corp: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+' || true)
    rm -rf "$scratch"
    local result=clean
    if ((status != 0)); then
        result="FOUND $(sed -n "s|.*Test unit written to $PWD/||p" "$log" | tail -n 1) (see ${log#"$PWD"/})"
    elif ((seeds == 0 || ${executed:-0} <= seeds || ${coverage:-0} < COVERAGE_MIN)); then
        result="DID NOT RUN (see ${log#"$PWD"/})"
    fi
    printf '%-8s %9s executions %7s/s, coverage %5s, corpus %5s of %3s kept: %s\n' \
        "$name" "${executed:-0}" "${rate:-0}" "${coverage:-0}" "${size:-0}" "$seeds" "$result"
    [[ $result == clean ]]
}

# A place is free when the one before has ended.
failed=0 running=0
for name in "${targets[@]}"; do
    if ((running == $(nproc))); then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$name" &
    running=$((running + 1))
done
while ((running > 0)); do
    wait -n || failed=1
    running=$((running - 1))
done
exit $failed
