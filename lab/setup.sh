#!/bin/sh
# Sets up a fresh Debian 12 machine: packages that are missing (their services are never started) and .venv from the
# lock. Everything is checked before anything is changed. Run by make; again, it takes less than a second.
#
#   lab/setup.sh          packages and .venv        root only when a package is missing
#   lab/setup.sh lab      the same, and root        for what makes network namespaces
#   lab/setup.sh image    more packages, and root   for images and the machines that boot them
#   lab/setup.sh python   .venv only                never root
set -eu
cd "$(dirname "$0")/.."

MODE=${1:-all}
PACKAGES="frr frr-pythontools frr-rpki-rtrlib ffmpeg tshark tcpdump nftables iproute2 procps util-linux openssl ca-certificates make git
          python3 python3-venv smitools snmp snmpd trafficserver varnish varnish-modules wrk multicat
          kamailio kamailio-extra-modules kamailio-secsipid-modules kamailio-sqlite-modules kamailio-tls-modules
          kamailio-websocket-modules kamcli keepalived sip-tester rtpengine-daemon redis-server janus coturn
          curl iperf3 libusrsctp2 srt-tools rist-tools softhsm2
          rauc dbus systemd squashfs-tools mtools dosfstools fdisk cryptsetup-bin qemu-utils sbsigntool osslsigncode binutils
          efitools grub-common grub-efi-amd64-bin systemd-boot-efi"
IMAGE_PACKAGES="mmdebstrap debian-archive-keyring zstd cpio qemu-system-x86 ovmf swtpm swtpm-tools"
LOCK=requirements-dev.lock
STAMP=.venv/.set-up
PLAYER=hls.js@1.7.4
PLAYER_DIR=.venv/share/player
GENESIS=genesis==2026.10.18
GENESIS_DIR=.venv/genesis
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='# streamverse-nf set-up'

fail() {
    echo "set-up: $1" >&2
    shift
    for line; do echo "  $line" >&2; done
    exit 1
}

missing_packages() {
    for package in $PACKAGES; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

system_python() {
    for candidate in "${PYTHON:-}" /usr/bin/python3 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

venv_digest() { cat "$LOCK" pyproject.toml lab/setup.sh | sha256sum | cut -d ' ' -f 1; }

venv_ready() {
    [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(venv_digest)" ] && [ -x .venv/bin/python ]
}

require_root() {
    [ "$(id -u)" = 0 ] || fail "root is needed: $1" "run the same again as root (sudo)"
}

# --- checks: nothing is changed here ---------------------------------------------------------------------------------

check_packages() {
    if ! command -v dpkg-query >/dev/null; then
        fail "this machine has no Debian packages" "Debian 12 is expected; what is needed here is:" $PACKAGES
    fi
    MISSING=$(missing_packages)
    [ -n "$MISSING" ] || return 0
    . /etc/os-release
    case "$ID:${VERSION_ID:-0}" in
        debian:1[2-9]* | debian:[2-9][0-9]*) ;;
        *) fail "${PRETTY_NAME:-this system} is not Debian 12, and packages are missing: $MISSING" \
                "install them by hand and run this again" ;;
    esac
    require_root "packages are missing: $MISSING"
    apt-get -qq -o DPkg::Lock::Timeout=120 update ||
        fail "the package lists cannot be fetched" "check the network and /etc/apt/sources.list; missing: $MISSING"
    for package in $MISSING; do
        apt-get -qq --simulate --no-install-recommends install "$package" >/dev/null 2>&1 ||
            fail "the package $package cannot be installed" "see why: apt-get --simulate install $package"
    done
}

check_python() {
    case " ${MISSING:-} " in *" python3"*) return 0 ;; esac # comes with the packages
    FOUND=$(system_python)
    [ -n "$FOUND" ] || fail "Python 3.11 or later is not here" \
        "apt-get install python3 python3-venv, or PYTHON=/path/to/python3"
    "$FOUND" -c 'import ensurepip, venv' 2>/dev/null || fail "$FOUND cannot make a venv" "apt-get install python3-venv"
}

# --- changes ---------------------------------------------------------------------------------------------------------

# While packages are unpacked, no service may start: the lab runs its own daemons in its own namespaces.
hold_services() {
    if [ -e "$POLICY" ] && ! grep -qF "$POLICY_MARK" "$POLICY"; then
        "$POLICY" frr start >/dev/null 2>&1 && echo "set-up: $POLICY is yours and lets services start; left as it is" >&2
        return 0
    fi
    trap 'rm -f "$POLICY"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
    chmod 755 "$POLICY"
}

release_services() {
    trap - EXIT INT TERM HUP
    if [ -e "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; then rm -f "$POLICY"; fi
}

install_packages() {
    [ -n "${MISSING:-}" ] || return 0
    echo "set-up: installing $MISSING"
    hold_services
    export DEBIAN_FRONTEND=noninteractive
    if command -v debconf-set-selections >/dev/null; then
        echo 'wireshark-common wireshark-common/install-setuid boolean false' | debconf-set-selections
    fi
    LOG=$(mktemp)
    apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install $MISSING >"$LOG" 2>&1 || {
        tail -n 20 "$LOG" >&2
        fail "the packages could not be installed; apt's last words are above" "see again: apt-get install $MISSING"
    }
    rm -f "$LOG"
    release_services
}

install_venv() {
    venv_ready && return 0
    echo "set-up: .venv from $LOCK"
    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        rm -rf .venv
        trap 'rm -rf .venv' EXIT
        trap 'exit 130' INT TERM HUP
        "$(system_python)" -m venv .venv
    fi
    rm -f "$STAMP"
    PIP=".venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install"
    $PIP --require-hashes --only-binary :all: -r "$LOCK" ||
        fail "the Python packages of $LOCK could not be installed" \
            "check the network and pip's configuration, then run this again"
    rm -rf ./*.egg-info # of an older set-up: it would hide the entry points of this one
    $PIP --no-index --no-deps --no-build-isolation --editable . ||
        fail "this package could not be installed into .venv" "is pyproject.toml sound?"
    install_player
    install_genesis
    venv_digest >"$STAMP"
    trap - EXIT INT TERM HUP
}

# A player of somebody else, for the tests of content steering: they stand aside where there is no npm. No part of us.
install_player() {
    command -v npm >/dev/null || return 0
    npm install --prefix "$PLAYER_DIR" --no-save --ignore-scripts --no-audit --no-fund --loglevel error \
        --fetch-retries 1 --fetch-timeout 30000 "$PLAYER" >/dev/null 2>&1 ||
        echo "set-up: $PLAYER could not be fetched; the tests that play with it will be skipped" >&2
}

# An event socket client of somebody else, the judge of ours. It holds rich, typer and protobuf at old versions, so it has
# an environment of its own; tests stand aside where there is none. No part of us.
install_genesis() {
    { "$(system_python)" -m venv "$GENESIS_DIR" &&
        "$GENESIS_DIR/bin/python" -m pip --quiet --disable-pip-version-check --no-input install "$GENESIS" 2>/dev/null; } ||
        echo "set-up: $GENESIS could not be installed; the tests that compare with it will be skipped" >&2
}

case "$MODE" in
    python) check_python; install_venv ;;
    all) check_packages; check_python; install_packages; install_venv ;;
    lab) require_root "the lab makes network namespaces"; check_packages; check_python; install_packages; install_venv ;;
    image)
        require_root "an image's files belong to root"
        PACKAGES="$PACKAGES $IMAGE_PACKAGES"
        check_packages; check_python; install_packages; install_venv
        ;;
    *) fail "no such mode: $MODE" "one of: all lab image python" ;;
esac
