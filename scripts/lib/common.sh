# What the test scripts share: messages, the summary, a mounted drive, and the check that nothing is left behind.
# Sourced by bash with the working directory at the top of the project.

TOOLS="$PWD/target/tools"
PATH="$TOOLS/bin:$HOME/.cargo/bin:$PATH"
SUMMARY=()
FAILED=0
STARTED=$SECONDS

say() { printf '\n== %s  [%d s]\n' "$*" "$((SECONDS - STARTED))"; }

die() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# step NAME COMMAND...: runs a command, notes how it ended, and goes on, so that one run shows all failures.
step() {
    local name=$1 begun=$SECONDS
    shift
    say "$name"
    DETAIL=""
    if "$@"; then
        SUMMARY+=("ok      $name  ${DETAIL} ($((SECONDS - begun)) s)")
    else
        SUMMARY+=("FAILED  $name  ${DETAIL} ($((SECONDS - begun)) s)")
        FAILED=$((FAILED + 1))
    fi
}

# Prints the summary; fails when a step did.
finish() {
    say "summary"
    printf '%s\n' "${SUMMARY[@]}"
    if [ "$FAILED" != 0 ]; then
        die "$FAILED of ${#SUMMARY[@]} steps"
    fi
    printf 'all %d steps passed in %d s\n' "${#SUMMARY[@]}" "$((SECONDS - STARTED))"
}

# A directory for this run. Not below a path of a length that pjdfstest 0.2.2 stumbles over, see suites.sh.
new_scratch() {
    SCRATCH=$(mktemp -d /var/tmp/verso-test.XXXXXXXX)
    chmod 755 "$SCRATCH"
    trap clean_up EXIT
    trap 'exit 130' INT TERM
}

# start_drive [OPTIONS...]: a new store, mounted at $DRIVE for all users; an encrypted one, if there is a key for it.
start_drive() {
    STORE=$(mktemp -d "$SCRATCH/store.XXXX")
    if [ -n "${VERSO_TESTS_KEY_FILE:-}" ]; then
        "$VERSO" init --encrypt --key-file "$VERSO_TESTS_KEY_FILE" "$STORE" >>"$SCRATCH/daemon.log" 2>&1 </dev/null ||
            die "the encrypted store was not made"
    fi
    DRIVE="$SCRATCH/drive"
    mkdir -p "$DRIVE"
    "$VERSO" mount "$STORE" "$DRIVE" --foreground --allow-other -o dev,suid "$@" \
        >>"$SCRATCH/daemon.log" 2>&1 </dev/null &
    DAEMON=$!
    for _ in $(seq 300); do
        if mountpoint -q "$DRIVE"; then return 0; fi
        kill -0 "$DAEMON" 2>/dev/null || break
        sleep 0.1
    done
    tail -20 "$SCRATCH/daemon.log"
    die "the drive was not mounted"
}

# encrypted COMMAND...: with encrypted stores.
encrypted() {
    local result
    export VERSO_TESTS_KEY_FILE="$SCRATCH/key"
    export VERSO_ENCRYPTION__KEY_FILE="$VERSO_TESTS_KEY_FILE"
    (umask 077 && head -c 32 /dev/urandom >"$VERSO_TESTS_KEY_FILE")
    "$@"
    result=$?
    unset VERSO_TESTS_KEY_FILE VERSO_ENCRYPTION__KEY_FILE
    return "$result"
}

# Unmounts, expects a clean end and a clean store, and removes the store.
stop_drive() {
    umount "$DRIVE" || return 1
    wait "$DAEMON" || { echo "the daemon ended with $?"; tail -20 "$SCRATCH/daemon.log"; return 1; }
    DAEMON=""
    check_store || return 1
    rm -rf "$STORE"
}

check_store() { "$VERSO" check "$STORE" --read-data; }

clean_up() {
    if [ -n "${DAEMON:-}" ]; then
        umount -l "$DRIVE" 2>/dev/null
        kill "$DAEMON" 2>/dev/null
        wait "$DAEMON" 2>/dev/null
    fi
    if ! grep -q " $SCRATCH/" /proc/self/mounts; then
        rm -rf "$SCRATCH"
    fi
}

# What a test could leave: mounts, loop devices, processes of ours, files. Taken before and after and compared.
leftovers() {
    grep -E 'fuse\.|/dev/loop' /proc/self/mounts | grep -vE 'gvfsd|portal' | cut -d' ' -f1-3
    losetup -n -O BACK-FILE 2>/dev/null | sort
    ps -eo args= | grep -E '^([^ ]*/)?(verso|memfs|bindfs|fsx|pjdfstest|stress-ng|fio|dbench) ' | sort
    ls -d /var/tmp/verso-test.* /dev/shm/verso-* target/tmp/* 2>/dev/null
    return 0
}

nothing_left() {
    local after
    after=$(leftovers | grep -vF "${SCRATCH:-none}")
    if [ "$after" = "$1" ]; then return 0; fi
    diff <(printf '%s\n' "$1") <(printf '%s\n' "$after")
    return 1
}
