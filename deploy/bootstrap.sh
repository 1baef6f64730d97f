# Sourced by deploy/up and tests/run, which set ROOT. From a clean clone to SoftHSM2, Python, uv and environments.
# What it writes lies under $ROOT/.rekey, but for system packages and uv's cache of downloads, which clones share.
# shellcheck shell=sh

TOOLS="$ROOT/.rekey/tools"

# uv brings its own certificates; the machine's store is what every other program here uses, so use that one.
# (The second name is the one of uv before 0.11.)
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-1}"

# Python keeps what it has compiled, also where the image of a container says that it should not: else each process compiles
# all its libraries again and starts in twice the time.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "$*" >&2; }

stop() { # exit code, message
    code=$1
    shift
    say "error: $*"
    exit "$code"
}

# --- system packages -------------------------------------------------------------------------------------------

install_package() { # Debian package; exit 3 with the command when it is not ours to run it
    if ! command -v apt-get >/dev/null 2>&1; then
        stop 3 "$1 is missing and this system has no apt-get; install it, then run again"
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        say "hint: sudo apt-get install -y $1"
        stop 3 "$1 is missing and needs root to be installed; run the command above, then run again"
    fi
    say "installing the system package $1"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # empty or two words
    $as_root apt-get install -qq -y "$1" >/dev/null 2>&1 ||
        { $as_root apt-get update -qq >&2 && $as_root apt-get install -qq -y "$1" >&2; } ||
        stop 3 "apt-get could not install $1"
}

softhsm_is_there() {
    command -v softhsm2-util >/dev/null 2>&1 || return 1
    for library in /usr/lib*/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
        /usr/lib*/pkcs11/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so \
        /opt/homebrew/lib/softhsm/libsofthsm2.so; do
        [ -e "$library" ] && return 0
    done
    return 1
}

need_softhsm() {
    softhsm_is_there && return
    install_package softhsm2
    softhsm_is_there || stop 3 "softhsm2 is installed, but libsofthsm2.so is not where it is expected"
}

need_ssh_keygen() { # people sign their commands with SSH keys
    command -v ssh-keygen >/dev/null 2>&1 || install_package openssh-client
}

# --- Python and uv ---------------------------------------------------------------------------------------------

need_python() { # sets PYTHON
    for PYTHON in ${REKEY_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    stop 3 "no Python 3.11 or newer on PATH; install one, or name it in REKEY_PYTHON"
}

uv_is_new_enough() { # 0.9 builds our members by itself, without a build environment
    case "$("$1" --version 2>/dev/null)" in
    "uv 0."[0-8].* | "") return 1 ;;
    *) return 0 ;;
    esac
}

need_uv() { # sets UV
    for UV in "$TOOLS/bin/uv" "$(command -v uv || :)"; do
        [ -n "$UV" ] && [ -x "$UV" ] && uv_is_new_enough "$UV" && return
    done
    UV="$TOOLS/bin/uv"
    say "installing uv into .rekey/tools"
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || install_package python3-venv
    rm -rf "$TOOLS"
    "$PYTHON" -m venv "$TOOLS" || stop 1 "could not make a virtual environment in .rekey/tools"
    "$TOOLS/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r "$ROOT/deploy/uv.lock.txt" || stop 1 "could not install uv from the package index"
}

need_environments() { # names; none: all
    need_python
    need_uv
    "$PYTHON" "$ROOT/deploy/environments.py" --uv "$UV" "$@" || exit 1
}
