#!/usr/bin/env bash
# Finds which system libraries and programs napari's window needs and this machine lacks, and installs them where apt-get and the rights
# are there. Otherwise names the exact command in one line. Always exits 0: registration itself needs none of them.
set -euo pipefail

[ "$(uname -s)" = Linux ] || exit 0 # macOS and Windows bring a window system, and Qt's wheels bring the rest

# What is looked for (a shared library's name, or a program) and the Debian and Ubuntu package that brings it. Libraries rather than
# packages are asked for, because the same library sits in differently named packages (libglib2.0-0, libglib2.0-0t64).
readonly NEEDS="
libGL.so.1:libgl1
libEGL.so.1:libegl1
libglib-2.0.so.0:libglib2.0-0
libgthread-2.0.so.0:libglib2.0-0
libdbus-1.so.3:libdbus-1-3
libfontconfig.so.1:libfontconfig1
libfreetype.so.6:libfreetype6
libX11-xcb.so.1:libx11-xcb1
libxkbcommon.so.0:libxkbcommon0
libxkbcommon-x11.so.0:libxkbcommon-x11-0
libxcb-cursor.so.0:libxcb-cursor0
libxcb-icccm.so.4:libxcb-icccm4
libxcb-image.so.0:libxcb-image0
libxcb-keysyms.so.1:libxcb-keysyms1
libxcb-randr.so.0:libxcb-randr0
libxcb-render-util.so.0:libxcb-render-util0
libxcb-shape.so.0:libxcb-shape0
libxcb-sync.so.1:libxcb-sync1
libxcb-xfixes.so.0:libxcb-xfixes0
libxcb-xkb.so.1:libxcb-xkb1
"
readonly HEADLESS_NEEDS="
Xvfb:xvfb
xvfb-run:xvfb
xauth:xauth
"

libraries=$( (PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true) | awk '{print $1}')

missing_packages() {
    local need what package
    for need in $NEEDS; do
        what=${need%%:*} package=${need##*:}
        grep -qxF "$what" <<<"$libraries" || echo "$package"
    done
    # Without any font Qt draws boxes for letters.
    compgen -G '/usr/share/fonts/*/*' >/dev/null || echo fonts-dejavu-core
    if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        for need in $HEADLESS_NEEDS; do
            command -v "${need%%:*}" >/dev/null || echo "${need##*:}"
        done
    fi
}

packages=$(missing_packages | sort -u | tr '\n' ' ')
packages=${packages% }
[ -n "$packages" ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
fi
by_hand="${as_root[*]:+sudo }apt-get install -y --no-install-recommends $packages"

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

install() {
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # the list is meant to be split
    "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -q -y --no-install-recommends $packages
}

if may_install; then
    echo "Installing system packages: $packages"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    install >"$log" 2>&1 && exit 0
    tail -n 3 "$log" >&2
fi
echo "MISSING for the napari window; install with: $by_hand" >&2
