# shellcheck shell=bash
# What the walkthroughs share. The `run` beside a README.md sources this file, and goes through the README's steps: every
# step is run as README.md shows it, on a host of its own, and no command there is left out.
# Nothing is taken from the machine but the program in MICRO, ports that are free, and a folder below target/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
example=${here##*/}
cd "$root"
program=$(realpath "${MICRO:-target/release/micro}")

# All examples are built into one folder, so that they share what they depend on. Cargo takes crates of one name for the
# same one there, so a walk waits until another is over.
built=$root/target/examples
work=$built/walks/$example
mkdir -p "$built"
exec 9>"$built/walk.lock"
flock 9
rm -rf "$work"
mkdir -p "$work"
export MICRO_DATA_DIR=$work/host
unset MICRO_PROXY_ADDRESS MICRO_OUTPUT MICRO_NAMESPACE

api=      # where the gateway listens
host=     # process ids
watcher=
said=     # what the last step printed

stop() {
    local id
    for id in $watcher $host; do
        kill -TERM "$id" 2>/dev/null || true
        wait "$id" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap stop EXIT

fail() {
    echo "$example: $*" >&2
    [ ! -s "$work/host.log" ] || sed 's/^/  host: /' "$work/host.log" >&2
    exit 1
}

# README.md shows these lines, however far they are indented.
readme() {
    local line
    while IFS= read -r line; do
        sed -n 's/^ \{4,\}//p' "$here/README.md" | grep -xF -- "${line#"${line%%[! ]*}"}" >/dev/null ||
            fail "README.md does not show: $line"
    done <<<"$1"
}

micro() { "$program" "$@"; }
curl() { command curl --silent --show-error --max-time 30 --noproxy '*' "$@"; }

# Runs a command of the README in this shell. The README's address is the default one, this host has another.
try() {
    local status=0
    readme "$1"
    echo "$example: $1"
    echo "$1" >>"$work/tried"
    eval "${1//127.0.0.1:8080/$api}" >"$work/said" 2>&1 9>&- || status=$?
    said=$(<"$work/said")
    return "$status"
}

# A step that succeeds.
step() { try "$1" || fail "it ended with status $?: $said"; }

# A step that does not.
refused() { ! try "$1" || fail "it is not refused: $said"; }

# What the last step printed holds these texts.
says() {
    local text
    for text; do
        [[ $said == *"$text"* ]] || fail "it does not say $text: $said"
    done
}

# The same, and README.md shows them.
shows() {
    local text
    for text; do
        readme "$text"
        says "$text"
    done
}

# The last step printed this and nothing else, and README.md shows it.
gives() {
    [ "$said" = "$1" ] || fail "expected $1, got: $said"
    readme "$1"
}

# Puts text into a file in place of other text, as README.md shows it.
edit() {
    local file=$1 old=$2 new=$3 text
    readme "$new"
    text=$(<"$file")
    [[ $text == *"$old"* ]] || fail "$file does not hold $old"
    text=${text/"$old"/"$new"}
    printf '%s\n' "$text" >"$file"
}

# A command that goes on beside the steps, and what it comes to print.
watch() {
    local words
    readme "$1"
    echo "$example: $1 &"
    echo "$1" >>"$work/tried"
    read -ra words <<<"$1"
    "$program" "${words[@]:1}" >"$work/watched" 2>&1 9>&- &
    watcher=$!
}
watched() {
    for _ in $(seq 400); do
        ! grep -qF -- "$1" "$work/watched" || return 0
        sleep 0.05
    done
    fail "it was not told: $1: $(cat "$work/watched")"
}

# A host, and beside it a copy of the example's packages, since the steps change them.
start() {
    local package
    readme "micro server"
    echo "micro server" >>"$work/tried"
    "$program" server --api-address 127.0.0.1:0 --sidecar-address 127.0.0.1:0 >"$work/host.log" 2>&1 9>&- &
    host=$!
    for _ in $(seq 400); do
        [ ! -s "$MICRO_DATA_DIR/sidecar.address" ] || break
        kill -0 "$host" 2>/dev/null || fail "the host did not start"
        sleep 0.05
    done
    api=$(micro status --output json | sed -n 's/.*"api_address":"\([^"]*\)".*/\1/p')
    [ -n "$api" ] || fail "micro status does not tell the gateway's address"

    mkdir "$work/.cargo"
    printf '[build]\ntarget-dir = "%s"\n' "$built" >"$work/.cargo/config.toml"
    for package in "$here"/*/Cargo.toml; do
        [ -e "$package" ] || break
        package=$(basename "$(dirname "$package")")
        # As new as they are: to cargo, a file older than what it built last is one it knows.
        tar -C "$here" --exclude target -cf - "$package" | tar -C "$work" -xmf -
        sed -i "s|\"\.\./\.\./\.\./|\"$root/|" "$work/$package/Cargo.toml"
    done
    cd "$work"
}

# The end: every command of the README was tried, and the host goes as it should.
finish() {
    local line
    while IFS= read -r line; do
        grep -xF -- "$line" "$work/tried" >/dev/null || fail "README.md shows what run does not try: $line"
    done < <(sed -n 's/^    \(\(cd\|curl\|for\|micro\|mkdir\|printf\) .*\)/\1/p' "$here/README.md")
    kill -TERM "$host"
    wait "$host" || fail "the host ended with status $?"
    host=
    [ ! -e "$MICRO_DATA_DIR/sidecar.address" ] || fail "the host left its sidecar.address behind"
    echo "$example: every step gave what it should"
}
