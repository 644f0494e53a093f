"""The digital test for folds on fields stored component by component, (3, i, j, k), as the engine has them.

The same determinants as in `space.jacobian`, rounded alike, in a fraction of the time: nothing is turned around first, and along a row the
compiler finds vector instructions. What the ten determinants are is written there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Bool, Float, Float32
from numba import njit

from .slabs import run_slabs

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    return cast(_F, njit(nogil=True, cache=True, error_model="numpy")(function))


def as_planes(displacement_vox: Float[np.ndarray, "i j k 3"]) -> Float32[np.ndarray, "3 i j k"] | None:
    """Return the field component by component if that is how a volume's vectors lie in memory, else None."""
    if displacement_vox.ndim != 4 or displacement_vox.dtype != np.float32 or min(displacement_vox.shape) < 2:
        return None
    planes = np.moveaxis(displacement_vox, -1, 0)
    return planes if len(planes) == 3 and planes.flags.c_contiguous else None


def low_determinants(field: Float32[np.ndarray, "3 i j k"], margin: float) -> tuple[Bool[np.ndarray, "i j k"], float]:
    """Mark the voxels of a volume whose smallest determinant is not greater than the margin; and give the sum of all numbers in the field.

    One NaN or infinity makes the sum NaN or infinite.
    """
    out = np.empty(field.shape[1:], np.bool_)
    return out, float(sum(run_slabs(_low_slab, field.shape[1], field, float(margin), out)))


def smallest_determinants(field: Float32[np.ndarray, "3 i j k"]) -> tuple[Float32[np.ndarray, "i j k"], float]:
    """Give the smallest determinant at each voxel of a volume, and the sum as `low_determinants` does."""
    out = np.empty(field.shape[1:], np.float32)
    return out, float(sum(run_slabs(_smallest_slab, field.shape[1], field, out)))


@_compiled
def _determinant(a: Any, b: Any, c: Any) -> Any:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])


@_compiled
def _edge(rows: Any, end: int, to: int, start: int, at: int, x: float, y: float, z: float) -> Any:
    """Give the mapped edge, (x, y, z) at first, from a place of one row to a place of another."""
    return (
        rows[end, 0, to] - rows[start, 0, at] + x, rows[end, 1, to] - rows[start, 1, at] + y, rows[end, 2, to] - rows[start, 2, at] + z
    )  # fmt: skip


@_compiled
def _lesser(a: float, b: float) -> float:  # numba's own min looks for NaN, which no vector instruction does
    return a if a < b else b


_HERE, _I_BACK, _I_AHEAD, _J_BACK, _J_AHEAD, _BOTH_BACK, _BOTH_AHEAD = range(7)


@_compiled
def _least_along(rows: Any, least: Any) -> None:
    """Fill in the smallest of the ten determinants along a row.

    `rows` (7, 3, k + 2) holds the components of the row itself, and of those one step back and ahead along i, along j and along both,
    each with its ends repeated.
    """
    for n in range(len(least)):
        k, p = n + 1, n + 2
        ap, am = _edge(rows, _I_AHEAD, k, _HERE, k, 1.0, 0.0, 0.0), _edge(rows, _HERE, k, _I_BACK, k, 1.0, 0.0, 0.0)
        bp, bm = _edge(rows, _J_AHEAD, k, _HERE, k, 0.0, 1.0, 0.0), _edge(rows, _HERE, k, _J_BACK, k, 0.0, 1.0, 0.0)
        cp, cm = _edge(rows, _HERE, p, _HERE, k, 0.0, 0.0, 1.0), _edge(rows, _HERE, k, _HERE, n, 0.0, 0.0, 1.0)
        behind = _determinant(
            _edge(rows, _BOTH_BACK, k, _HERE, k, -1.0, -1.0, 0.0),
            _edge(rows, _I_BACK, n, _HERE, k, -1.0, 0.0, -1.0),
            _edge(rows, _J_BACK, n, _HERE, k, 0.0, -1.0, -1.0),
        )
        ahead = _determinant(
            _edge(rows, _BOTH_AHEAD, k, _HERE, k, 1.0, 1.0, 0.0),
            _edge(rows, _J_AHEAD, p, _HERE, k, 0.0, 1.0, 1.0),
            _edge(rows, _I_AHEAD, p, _HERE, k, 1.0, 0.0, 1.0),
        )
        value = _lesser(0.5 * behind, 0.5 * ahead)
        value = _lesser(_lesser(value, _determinant(ap, bp, cp)), _determinant(ap, bp, cm))
        value = _lesser(_lesser(value, _determinant(ap, bm, cp)), _determinant(ap, bm, cm))
        value = _lesser(_lesser(value, _determinant(am, bp, cp)), _determinant(am, bp, cm))
        least[n] = _lesser(_lesser(value, _determinant(am, bm, cp)), _determinant(am, bm, cm))


@_compiled
def _copy_row(field: Any, i: int, j: int, row: Any) -> None:
    nk = field.shape[3]
    for c in range(3):
        source, target = field[c, i, j], row[c]
        for k in range(nk):
            target[k + 1] = source[k]
        target[0], target[nk + 1] = source[0], source[nk - 1]


@_compiled
def _row(field: Any, i: int, j: int, rows: Any, least: Any, sums: Any) -> None:
    """Fill in the smallest determinants of a row, and add its numbers to `sums`."""
    im, ip = max(i - 1, 0), min(i + 1, field.shape[1] - 1)
    jm, jp = max(j - 1, 0), min(j + 1, field.shape[2] - 1)
    _copy_row(field, i, j, rows[0])
    _copy_row(field, im, j, rows[1])
    _copy_row(field, ip, j, rows[2])
    _copy_row(field, i, jm, rows[3])
    _copy_row(field, i, jp, rows[4])
    _copy_row(field, im, jm, rows[5])
    _copy_row(field, ip, jp, rows[6])
    _least_along(rows, least)
    for k in range(len(least)):
        sums[k] += rows[0, 0, k + 1] + rows[0, 1, k + 1] + rows[0, 2, k + 1]


@_compiled
def _low_slab(first: int, stop: int, field: Any, margin: float, out: Any) -> Any:
    nj, nk = field.shape[2:]
    rows, least, sums = np.empty((7, 3, nk + 2), np.float64), np.empty(nk, np.float64), np.zeros(nk, np.float64)
    for i in range(first, stop):
        for j in range(nj):
            _row(field, i, j, rows, least, sums)
            for k in range(nk):
                out[i, j, k] = least[k] <= margin
    return sums.sum()


@_compiled
def _smallest_slab(first: int, stop: int, field: Any, out: Any) -> Any:
    nj, nk = field.shape[2:]
    rows, least, sums = np.empty((7, 3, nk + 2), np.float64), np.empty(nk, np.float64), np.zeros(nk, np.float64)
    for i in range(first, stop):
        for j in range(nj):
            _row(field, i, j, rows, least, sums)
            for k in range(nk):
                out[i, j, k] = least[k]
    return sums.sum()
