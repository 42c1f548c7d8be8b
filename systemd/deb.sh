#!/usr/bin/env bash
# Makes the Debian package: target/debian/jimengd_*.deb, and beside it one with the symbols. Needs cargo-deb (cargo install cargo-deb
# --locked) and binutils. The last line that it prints is the package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

made=target/package

cargo build --release --locked
program=target/release/jimengd

# What the program was linked against decides where it can run, not what the manifest says.
wanted=$(objdump -T "$program" | grep -o 'GLIBC_2\.[0-9]*' | cut -d. -f2 | sort -nu | tail -n 1)
grep -q "libc6 (>= 2.$wanted)" Cargo.toml || {
    echo "the program needs glibc 2.$wanted, and Cargo.toml says otherwise" >&2
    exit 1
}

# What the program knows about itself better than a file that somebody forgets to change.
rm -rf "$made"
mkdir -p "$made/man" "$made/completions"
"$program" man "$made/man"
for shell in bash zsh fish; do
    "$program" completions "$shell" >"$made/completions/$shell"
done
"$program" codes --catalog >"$made/jimengd.catalog"

gzip -9nc CHANGELOG.md >"$made/changelog.gz"

# The configuration as it is installed: every key is there to be seen, and none is set, so that a new version may bring new defaults.
{
    cat <<'HEAD'
# The configuration of jimengd. What is commented out is the default. jimengd.yaml(5) says the same, `jimengd check` shows what holds
# and who said it, and `systemctl reload jimengd` has a running daemon take it. A key that does not exist is an error.
#
# Over this file go variables of the environment (JIMENGD_API__BASE_URL sets api.base_url), over those the flags.
#
# Durations are a whole number and a unit: 250ms, 2s, 10m, 12h, 90d. Sizes are decimal: 4.7MB is 4 700 000 bytes.
HEAD
    # Its own first lines tell how it is built into the program.
    sed '1,/^$/d; s/^[^#]/#&/' config/jimengd.yaml | sed '1i\\'
} >"$made/jimengd.yaml"

# Other times of the files would be other bytes of the package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
rm -f target/debian/jimengd_*.deb target/debian/jimengd-dbgsym_*
cargo deb --no-build --locked --quiet "$@"
ls "$PWD"/target/debian/jimengd_*.deb
