# The outside test suites on a mounted drive. Each function leaves its counts in DETAIL and fails when the suite does.

# pjdfstest 0.2.2 panics in its enametoolong_path tests when the length of its directory is 31 modulo 127
# (create_path_max subtracts one from zero); it adds a name of 22 characters to the path that it is given.
PJDFSTEST_BAD_LENGTH=9

pjdfstest_config() {
    cat <<EOT
[features]
posix_fallocate = {}
utime_now = {}
utimensat = {}
rename_ctime = {}
[settings]
naptime = 0.01
allow_remount = $1
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
EOT
}

# The last line of pjdfstest's output that says how many failed, were skipped and passed.
pjdfstest_count() { sed -n "s/.*[^0-9]\([0-9]\+\) $1.*/\1/p" <<<"$2" | tail -1; }

# run_pjdfstest PASSES REMOUNT PATTERN...
run_pjdfstest() {
    local passes=$1 remount=$2 output
    shift 2
    if [ $((${#DRIVE} % 127)) = "$PJDFSTEST_BAD_LENGTH" ]; then die "$DRIVE: a path of a bad length"; fi
    pjdfstest_config "$remount" >"$SCRATCH/pjdfstest.toml"
    output=$(PATH="$SCRATCH/bin:$PATH" pjdfstest -c "$SCRATCH/pjdfstest.toml" -s /dev/shm -p "$DRIVE" "$@" 2>&1)
    local summary
    summary=$(grep '^Summary:' <<<"$output" | tail -1)
    DETAIL="${summary#Summary: }"
    grep -A3 'FAILED$' <<<"$output"
    [ "$(pjdfstest_count failed "$summary")" = 0 ] && [ "$(pjdfstest_count passed "$summary")" = "$passes" ]
}

suite_pjdfstest() {
    start_drive
    chmod 777 "$DRIVE"
    run_pjdfstest 384 false && stop_drive
}

# The tests that mount the drive read-only for a while. `mount` must not ask the helper /sbin/mount.fuse.
suite_pjdfstest_erofs() {
    mkdir -p "$SCRATCH/bin"
    printf '#!/bin/sh\nexec %s -i "$@"\n' "$(command -v mount)" >"$SCRATCH/bin/mount"
    chmod +x "$SCRATCH/bin/mount"
    start_drive
    chmod 777 "$DRIVE"
    run_pjdfstest 13 true erofs && stop_drive
    local result=$?
    rm "$SCRATCH/bin/mount"
    return "$result"
}

fsx_config() {
    cat <<EOT
flen = $1
[opsize]
max = $2
[weights]
close_open = 1
invalidate = 1
mapread = 5
mapwrite = 5
read = 10
write = 10
truncate = 3
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 2
punch_hole = 3
sendfile = 2
posix_fadvise = 1
copy_file_range = 5
EOT
}

# suite_fsx SECONDS_MAX OPERATIONS: several seeds on small files, one on a file of many chunks.
suite_fsx() {
    local seconds=$1 operations=$2 begun=$SECONDS seeds=0 seed
    start_drive
    fsx_config 262144 65536 >"$SCRATCH/fsx-small.toml"
    fsx_config 33554432 1048576 >"$SCRATCH/fsx-large.toml"
    for seed in $(seq 1 1000); do
        if [ $((SECONDS - begun)) -ge "$seconds" ]; then break; fi
        local config=small count=$operations
        if [ $((seed % 3)) = 0 ]; then config=large count=$((operations / 20)); fi
        fsx -q -f "$SCRATCH/fsx-$config.toml" -S "$seed" -N "$count" -P "$SCRATCH" "$DRIVE/shared/fsx-$seed" \
            >"$SCRATCH/fsx.log" 2>&1 || { tail -40 "$SCRATCH/fsx.log"; echo "fsx seed $seed ($config)"; return 1; }
        rm -f "$DRIVE/shared/fsx-$seed"
        seeds=$((seeds + 1))
    done
    DETAIL="$seeds seeds"
    [ "$seeds" -ge 2 ] && stop_drive
}

# Stressors that work on ordinary files; each verifies what it reads. Not getdent: it walks /, /proc and /tmp of the machine,
# and into whatever is mounted there, instead of the drive.
STRESSORS="access chattr chmod chown copy-file dentry dir dirdeep fallocate fiemap filename flock fstat hdd
    iomix lease link locka lockf lockofd mmap mmapfork open readahead rename revio seek sendfile symlink sync-file touch
    unlink utime verity xattr"

# suite_stress SECONDS: stress-ng over all of them, a part of the time each.
suite_stress() {
    local seconds=$1 each name ran=0 known
    known=$(stress-ng --stressors)
    each=$((seconds / $(wc -w <<<"$STRESSORS") + 1))
    start_drive
    mkdir "$DRIVE/shared/stress"
    for name in $STRESSORS; do
        grep -qw -- "$name" <<<"$known" || continue
        # 0: passed; 3 and 4: not enough resources or not implemented here (fiemap, verity on FUSE).
        timeout --kill-after=10 $((each + 60)) stress-ng --quiet --verify --temp-path "$DRIVE/shared/stress" --hdd-bytes 32m --iomix-bytes 32m \
            --revio-bytes 32m --seek-size 32m --fallocate-bytes 32m --readahead-bytes 32m --timeout "$each" "--$name" 2 \
            >"$SCRATCH/stress.log" 2>&1
        case $? in
        0 | 3 | 4) ran=$((ran + 1)) ;;
        *)
            tail -20 "$SCRATCH/stress.log"
            echo "stress-ng --$name"
            return 1
            ;;
        esac
    done
    DETAIL="$ran stressors"
    rm -rf "$DRIVE/shared/stress"
    stop_drive
}

# suite_fio SECONDS: random and sequential writes, checked by their checksums, also through mmap and O_DIRECT.
suite_fio() {
    local seconds=$(($1 / 4 + 1)) engine rw direct jobs=0
    start_drive
    for job in "psync randwrite 0" "psync randwrite 1" "mmap randwrite 0" "psync write 0"; do
        read -r engine rw direct <<<"$job"
        fio --name="verify-$jobs" --directory="$DRIVE/shared" --ioengine="$engine" --rw="$rw" --direct="$direct" --bs=4k-64k \
            --bs_unaligned=0 --size=48m --numjobs=2 --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=256 \
            --verify_state_save=0 --runtime="$seconds" --group_reporting --output="$SCRATCH/fio.log" ||
            { tail -30 "$SCRATCH/fio.log"; echo "fio $job"; return 1; }
        rm -f "$DRIVE"/shared/verify-*
        jobs=$((jobs + 1))
    done
    DETAIL="$jobs jobs"
    stop_drive
}

# suite_dbench SECONDS: a file server's load with 4 clients.
suite_dbench() {
    local loadfile
    loadfile=$(dpkg -L dbench | grep 'client.txt' | head -1)
    start_drive
    timeout $(($1 + 120)) dbench -c "$loadfile" -D "$DRIVE/shared" -t "$1" 4 >"$SCRATCH/dbench.log" 2>&1 ||
        { tail -20 "$SCRATCH/dbench.log"; return 1; }
    DETAIL=$(grep '^Throughput' "$SCRATCH/dbench.log")
    stop_drive
}
