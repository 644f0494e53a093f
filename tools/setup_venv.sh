#!/usr/bin/env bash
# Makes (or brings up to date) the virtual environment .venv with the package, its window and its development tools, at tested versions.
set -euo pipefail
cd "$(dirname "$0")/.."

# The first Python that is new enough. PYTHON=... chooses another.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python; do
        if "$candidate" -c 'import sys; sys.exit(not sys.version_info >= (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Expected Python 3.11 or newer on the PATH; found $(python3 --version 2>&1 | head -n 1). Install it, or name one: make PYTHON=/path/to/python3" >&2
    return 1
}

# Debian and Ubuntu keep venv's pip in a package of its own.
ensure_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    local version package
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
        local as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        echo "Installing system package: $package"
        export DEBIAN_FRONTEND=noninteractive
        "${as_root[@]}" apt-get update -q >/dev/null
        "${as_root[@]}" apt-get install -q -y --no-install-recommends "$package" >/dev/null
    else
        echo "MISSING: Python's venv module. Install with: sudo apt-get install -y $package" >&2
        return 1
    fi
}

python=$(find_python)
ensure_venv_module "$python"
# A half-made or broken environment (interrupted, or its Python gone) is made anew; a sound one is only brought up to date.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
echo "Installing the package and its dependencies into .venv (a few minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
touch .venv/.ready
