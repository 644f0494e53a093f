"""Linear resizing between lattices with common corners, and its adjoint, which brings derivatives back (numba)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .lattice import row_axes

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


def _places(new: int, old: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `new` places the lower of the two `old` ones around it, and the weight of the upper one."""
    at = np.arange(new) * ((old - 1) / max(new - 1, 1))
    low = np.minimum(at.astype(np.int64), max(old - 2, 0))
    return low, (at - low).astype(np.float32)


def _rows_last(data: np.ndarray, shape: tuple[int, ...]) -> list[int]:
    """Return the axes of both lattices in the order of the compiled loops: that of `long_rows` where both are slices in one plane."""
    axes = row_axes(data.shape[1:])
    return axes if axes == row_axes(shape) else [0, 1, 2]


@njit(**_JIT)
def _resize_slab(first, stop, data, low_i, up_i, low_j, up_j, low_k, up_k, factors, out):  # type: ignore[no-untyped-def]
    count, ni, nj, nk = data.shape
    row = np.empty(nk, np.float32)
    for c in range(count):
        for i in range(first, stop):
            a, wa = low_i[i], up_i[i] * factors[c]
            ua, b = factors[c] - wa, min(a + 1, ni - 1)
            for j in range(out.shape[2]):
                d, wd = low_j[j], up_j[j]
                ud, e = np.float32(1) - wd, min(d + 1, nj - 1)
                one, two, three, four = data[c, a, d], data[c, a, e], data[c, b, d], data[c, b, e]
                w, x, y, z = ua * ud, ua * wd, wa * ud, wa * wd
                for k in range(nk):
                    row[k] = w * one[k] + x * two[k] + y * three[k] + z * four[k]
                line = out[c, i, j]
                for k in range(out.shape[3]):
                    p = low_k[k]
                    value = row[p]
                    line[k] = value + up_k[k] * (row[min(p + 1, nk - 1)] - value)


@njit(**_JIT)
def _adjoint_slab(first, stop, data, low_i, up_i, low_j, up_j, low_k, up_k, factors, out):  # type: ignore[no-untyped-def]
    """Gather what the planes `first` to `stop` of the result get from the planes of `data` next to them."""
    count, ni, nj, nk = data.shape
    mj, mk = out.shape[2:]
    row, plane = np.empty(mk, np.float32), np.empty((mj, mk), np.float32)
    for c in range(count):
        for i in range(ni):
            a = low_i[i]
            if a + 1 < first or a >= stop:
                continue
            plane[:] = 0.0
            for j in range(nj):
                row[:] = 0.0
                line = data[c, i, j]
                for k in range(nk):
                    p, w = low_k[k], up_k[k] * line[k]
                    row[p] += line[k] - w
                    if p + 1 < mk:
                        row[p + 1] += w
                d, wd = low_j[j], up_j[j]
                ud = np.float32(1) - wd
                for k in range(mk):
                    plane[d, k] += ud * row[k]
                if d + 1 < mj:
                    for k in range(mk):
                        plane[d + 1, k] += wd * row[k]
            for upper in range(2):
                target = a + upper
                if target >= first and target < stop:
                    weight = factors[c] * (up_i[i] if upper == 1 else np.float32(1) - up_i[i])
                    for j in range(mj):
                        for k in range(mk):
                            out[c, target, j, k] += weight * plane[j, k]


def _run(slab: Callable[..., None], data: np.ndarray, shape: tuple[int, ...], factors: np.ndarray, adjoint: bool) -> np.ndarray:
    """Run one of the compiled loops from the lattice of the (c, i, j, k) data to another."""
    axes = _rows_last(data, shape)
    given, made = [data.shape[1 + axis] for axis in axes], [shape[axis] for axis in axes]
    between = zip(given, made, strict=True) if adjoint else zip(made, given, strict=True)
    places = [part for new, old in between for part in _places(new, old)]
    out = np.zeros((len(data), *made), np.float32)
    run_slabs(slab, made[0], data.reshape(len(data), *given), *places, factors.astype(np.float32), out)
    return out.reshape(len(data), *shape)


def resize(data: np.ndarray, shape: tuple[int, ...], factors: np.ndarray) -> np.ndarray:
    """Resample (c, i, j, k) channels to another (i, j, k) shape, each times its factor."""
    return _run(_resize_slab, data, shape, factors, adjoint=False)


def resize_adjoint(data: np.ndarray, shape: tuple[int, ...], factors: np.ndarray) -> np.ndarray:
    """Return the derivative by (c, *shape) channels of what `resize` makes of them, given that by its result."""
    return _run(_adjoint_slab, data, shape, factors, adjoint=True)
