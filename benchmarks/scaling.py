#!/usr/bin/env python3
"""How seconds and memory of our registration grow with the number of voxels, and the exponents of both.

    scaling.py --out FOLDER [--sides 64 96 128 192 256] [--efforts fast default] [--preset generic] [--threads 2] [--memory-limit 16]

One synthetic pair of known anatomy is rendered once (96^3) and brought to every size, with noise of its own; the field of view stays the
same, as when a scanner's voxels get smaller. Every registration is a process of its own, as in compare.py: seconds from the files to the
transform, processor seconds and the peak memory of the process, Python and its libraries included. `--shape 512 512 400` adds one of
another form. A process that grows beyond --memory-limit GiB is ended. The exponent is the
least-squares slope of log(seconds) against log(voxels); memory is fitted by a constant and so many bytes a voxel.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from compare import OURS, Plan, elsewhere, run
from run_cases import PRESET_OF_KIND

FOLDER_OF = {"generic": "pair", **{preset: kind for kind, preset in PRESET_OF_KIND.items()}}
"""A name for the pair's folder by which it gets the preset."""

TOOL_OF = {effort: tool for tool, effort in OURS.items()}


def write_pair(folder: Path, shape: tuple[int, int, int], side: int = 96) -> None:
    """Write fixed.nii and moving.nii of this shape."""
    import torch

    from napari_deformreg.io import write_image
    from napari_deformreg.phantom import small_pair
    from napari_deformreg.space import Volume

    rng = np.random.default_rng(0)
    pair = small_pair((side, side, side), seed=3)
    for name, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        small = torch.from_numpy(np.ascontiguousarray(volume.data, dtype=np.float32))[None, None]
        data = torch.nn.functional.interpolate(small, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
        for plane in data:
            plane += 0.02 * float(small.std()) * rng.standard_normal(plane.shape, dtype=np.float32)
        write_image(folder / f"{name}.nii", Volume(data, volume.grid.resized(shape), name))


def exponent(voxels: list[int], values: list[float]) -> float:
    """Return the slope of log(values) against log(voxels)."""
    return float(np.polyfit(np.log(voxels), np.log(values), 1)[0]) if len(voxels) > 1 else math.nan


def table(rows: list[dict[str, Any]]) -> str:
    """Return what was measured as Markdown, with the exponents."""
    lines = ["| shape | Mvoxels | effort | s | CPU s | peak GiB |", "|---|---|---|---|---|---|"]
    for row in rows:
        start = f"| {row['shape']} | {row['voxels'] / 1e6:.1f} | {row['effort']} | "
        if "failed" in row:
            lines.append(f"{start}{row['failed']} | | {row['peak_gib']:.2f} |")
        else:
            lines.append(f"{start}{row['seconds']:.1f} | {row['cpu_s']:.0f} | {row['peak_gib']:.2f} |")
    for effort in dict.fromkeys(row["effort"] for row in rows):
        done = [row for row in rows if row["effort"] == effort and "failed" not in row]
        if len(done) > 1:
            voxels = [row["voxels"] for row in done]
            slope = exponent(voxels, [row["seconds"] for row in done])
            bytes_more, start = np.polyfit(voxels, [row["peak_gib"] for row in done], 1)
            lines.append(f"\n{effort}: seconds as voxels^{slope:.2f}; memory {start:.2f} GiB and {bytes_more * 2**30:.0f} bytes a voxel.")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="*", default=[64, 96, 128, 192, 256])
    parser.add_argument("--shape", type=int, nargs=3, action="append", default=[])
    parser.add_argument("--efforts", nargs="+", default=["fast", "default"], choices=list(TOOL_OF))
    parser.add_argument("--preset", default="generic", choices=list(FOLDER_OF))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", type=float, default=16.0, metavar="GIB")
    parser.add_argument("--limit", type=float, default=900.0, metavar="S")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args()


def main() -> None:
    """Measure."""
    words = arguments()
    words.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    shapes = [(side, side, side) for side in words.sides] + [tuple(shape) for shape in words.shape]
    for shape in shapes:
        with tempfile.TemporaryDirectory() as place:
            case = Path(place) / FOLDER_OF[words.preset]
            case.mkdir()
            elsewhere(write_pair, case, shape)
            plan = Plan((case,), (), 1, words.threads, words.device, False, words.limit, sys.executable, words.out, words.memory_limit)
            for effort in words.efforts:
                found = run(plan, case, TOOL_OF[effort], Path(place))
                rows.append({"shape": "x".join(map(str, shape)), "voxels": math.prod(shape), "effort": effort, **found})
                (words.out / "scaling.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
                (words.out / "scaling.md").write_text(table(rows), encoding="utf-8")
                print(table(rows[-1:]).splitlines()[2], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
