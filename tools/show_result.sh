#!/usr/bin/env bash
# Opens napari on a result folder; without a screen it renders the same window to window.png in that folder.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1

if [ "$(uname -s)" = Darwin ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec .venv/bin/deformreg view "$folder"
fi
status=0
tools/with_display.sh .venv/bin/python -c '
import sys
from napari_deformreg.ui.app import screenshot_result
screenshot_result(sys.argv[1], sys.argv[2])
' "$folder" "$folder/window.png" || status=$?
case $status in
    0) echo "No display here: the napari window is drawn in $folder/window.png" ;;
    69) echo "No display and no Xvfb here: the napari window was not drawn; everything else is in $folder" ;;
    *) exit "$status" ;;
esac
