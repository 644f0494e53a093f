#!/usr/bin/env python3
"""How far the heaviest kernels are from the memory's speed: seconds of each against the least bytes that it must move.

    roofline.py [--shape 160 192 224] [--threads 2] [--repeats 7] [--json FILE]

The memory's speed is measured as STREAM's triad does it (a = b + s c over arrays far larger than the caches, compiled, on the same threads;
bytes counted without write-allocate). The least bytes of a kernel are those of its inputs read once and its outputs written once, as if
caches were perfect; a kernel at 100 % could be no faster. Medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from napari_deformreg.engine.kernels import cpu, lncc_cpu
from napari_deformreg.engine.sampling import gaussian_kernel
from napari_deformreg.space.slabs import run_slabs


@njit(nogil=True, fastmath=True)
def _triad(first: int, stop: int, a: Any, b: Any, c: Any, scale: float) -> None:
    for n in range(first, stop):
        a[n] = b[n] + scale * c[n]


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, the first one not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def stream_gb_s(repeats: int) -> float:
    """Measure the memory's speed."""
    a, b, c = (np.full(32_000_000, value, np.float32) for value in (0, 1, 2))
    return 3 * a.nbytes / seconds(lambda: run_slabs(_triad, len(a), a, b, c, np.float32(3)), repeats) / 1e9


def kernels(shape: tuple[int, int, int]) -> dict[str, tuple[Callable[[], Any], int, str]]:
    """Return name -> call, least bytes a voxel, and what these are."""
    rng = np.random.default_rng(0)
    fixed, moved, weight = (rng.random(shape, dtype=np.float32) for _ in range(3))
    smooth = [gaussian_kernel(1.2)] * 3
    field = 2 * cpu.convolve_separable(rng.standard_normal((3, *shape), dtype=np.float32), (smooth[0], smooth[1], smooth[2]))
    radius = 3
    count = cpu.box_sum(np.ones((1, *shape), np.float32), radius)[0]
    sums = cpu.box_sum(np.stack([fixed, fixed * fixed]), radius)
    variance = sums[1] - sums[0] ** 2 / count + 1e-3 * count
    unit = np.eye(3), np.zeros(3)
    return {
        "local correlation, value and gradient": (
            lambda: lncc_cpu.lncc_value_and_gradient(moved, fixed, sums[0], variance, count, weight, float(weight.sum()), radius, 1e-3),
            28, "six images read, one written",
        ),
        "composition of two fields": (lambda: cpu.compose(field, field), 36, "two fields read, one written"),
        "warp with gradient": (
            lambda: cpu.warp(moved, field, *unit, True, weight), 40, "field, image, weight read; value, gradient, inside written",
        ),
        "smoothing of a field, sigma 1.2": (
            lambda: cpu.convolve_separable(field, (smooth[0], smooth[1], smooth[2])), 24, "field read, field written",
        ),
    }  # fmt: skip


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 192, 224])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(words.threads)  # how many threads the kernels use
    shape = (words.shape[0], words.shape[1], words.shape[2])
    speed = stream_gb_s(words.repeats)
    rows = []
    for name, (call, size, what) in kernels(shape).items():
        took = seconds(call, words.repeats)
        reached = size * float(np.prod(shape)) / took / 1e9
        rows.append({"kernel": name, "ms": 1000 * took, "bytes a voxel": size, "of": what, "GB/s": reached, "part": reached / speed})
    print(f"{'x'.join(map(str, shape))} voxels, {words.threads} threads, triad {speed:.1f} GB/s\n")
    print("| kernel | ms | least bytes a voxel | GB/s | % of triad |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['kernel']} | {row['ms']:.0f} | {row['bytes a voxel']} ({row['of']}) | {row['GB/s']:.1f} | {100 * row['part']:.0f} |")
    if words.json:
        words.json.write_text(json.dumps({"triad GB/s": speed, "threads": words.threads, "kernels": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
