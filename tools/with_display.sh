#!/usr/bin/env bash
# Runs a command with a screen: the user's own where there is one, else an invisible one (Xvfb).
# Exits with 69 ("service unavailable") where there is neither.
set -euo pipefail
if [ "$(uname -s)" = Darwin ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi
if command -v xvfb-run >/dev/null && command -v Xvfb >/dev/null && command -v xauth >/dev/null; then
    exec xvfb-run -a -s "-screen 0 1600x1000x24" "$@"
fi
exit 69
