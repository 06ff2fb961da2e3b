# Installs what the tests need on a bare Debian 12 with Rust, and leaves alone what is there.

# Pinned: their counts are part of what is expected.
PJDFSTEST_VERSION=0.2.2
FSX_VERSION=0.3.2
CARGO_DENY_VERSION=0.18.9

# program=package, by what has to be runnable.
NEEDED="fusermount3=fuse3 setfacl=acl setfattr=attr mkfs.xfs=xfsprogs mkfs.ext4=e2fsprogs stress-ng=stress-ng
    fio=fio dbench=dbench git=git sqlite3=sqlite3 rsync=rsync vim=vim convert=imagemagick
    exiftool=libimage-exiftool-perl strace=strace bindfs=bindfs cc=build-essential pkg-config=pkg-config
    losetup=mount ps=procps fiu-run=fiu-utils"

install_packages() {
    local missing="" pair
    PATH="$PATH:/usr/sbin:/sbin"
    for pair in $NEEDED; do
        command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
    done
    # pjdfstest links it.
    [ -e /usr/include/sys/acl.h ] || missing="$missing libacl1-dev"
    if [ -z "$missing" ]; then return 0; fi
    echo "installing:$missing"
    # shellcheck disable=SC2086
    as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# cargo_tool PROGRAM VERSION: into target/tools, unless that version is there.
cargo_tool() {
    if [ -x "$TOOLS/bin/$1" ] && "$TOOLS/bin/$1" --version 2>/dev/null | grep -qF "$2"; then return 0; fi
    cargo install --quiet --locked --root "$TOOLS" "$1@$2"
}

install_suites() {
    cargo_tool pjdfstest "$PJDFSTEST_VERSION" && cargo_tool fsx "$FSX_VERSION"
}

# pjdfstest changes to these two users.
create_users() {
    id tests >/dev/null 2>&1 || as_root useradd -m tests
}
