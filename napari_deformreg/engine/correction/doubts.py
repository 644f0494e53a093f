"""Which landmark pairs disagree with the others: a mis-click must not ruin a registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from ...result import PairDoubt
from ...space import AffineTransform, LandmarkPairs
from .looks import Look

NEIGHBORS = 6
"""Nearest pairs that predict one."""

LEAST_NEIGHBORS = 3
"""With fewer nothing is predicted."""

SPREADS = 3.5
"""A pair is an outlier that lies this many robust standard deviations (1.4826 median) farther off than the others do ...

References: Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers, recommend 3.5."""

LEAST_MISS_VOX = 3.0
"""... and at least this many voxels: clicks are no more precise than that."""

SURE_PART = 2.0
MISS_PART = 0.04
MISS_AT_MOST = 10.0
LIMIT = 0.24
"""With the images: a pair is an outlier where how much worse it looks, times 1 + `SURE_PART` times the confidence of the best place, plus
`MISS_PART` for each usual distance (up to `MISS_AT_MOST`) that it is off, exceeds `LIMIT`. Chosen on every other landmark of eight
registrations of a lung, livers and a head (two of them affine alone), for at most 5 % false alarms; README tells what comes of the
landmarks between them."""

USUAL_MISS = 1.5
"""Taken for a pair that has too few neighbors."""

SQUEEZED = 0.1
"""Two pairs whose distance shrinks to less than this part, or grows by as much, leave no room between them."""


def doubts_of(
    pairs: LandmarkPairs, used: Bool[np.ndarray, "n"], carried: Float[np.ndarray, "n 3"], affine: AffineTransform,
    spacing_mm: Float[np.ndarray, "3"], looks: Sequence[Look | None] | None = None,
) -> tuple[PairDoubt, ...]:
    """Compare each pair with what the used others around it and the automatic registration together predict.

    What the automatic registration leaves at the neighbors (its error there) is interpolated to the pair, weighted by inverse squared
    distance (Shepard 1968, doi 10.1145/800186.810616): the registration's error is smooth, a mis-click is not.

    Parameters
    ----------
    carried : (n, 3) array
        Fixed points as the automatic registration carries them to moving space.
    spacing_mm : (3,) float array
        Voxel sizes.
    looks : sequence of Look or None, optional
        Of each pair; where nothing is known, the neighbors decide alone.
    """
    seen = [None] * len(pairs) if looks is None else list(looks)
    left = pairs.moving_points - carried
    predicted = [_predicted(pairs.fixed_points, left, used, n) for n in range(len(pairs))]
    misses = [None if guess is None else float(np.linalg.norm(left[n] - guess)) for n, guess in enumerate(predicted)]
    known = np.array([miss for n, miss in enumerate(misses) if miss is not None and used[n]])
    spread = max(1.4826 * float(np.median(known)) if len(known) else 0.0, float(spacing_mm.mean()))
    limit = max(LEAST_MISS_VOX * float(spacing_mm.max()), SPREADS * 1.4826 * float(np.median(known)) if len(known) else 0.0)
    targets = affine.inverse().map(pairs.moving_points)
    folds = [_fold_partner(pairs.fixed_points, targets, used, n) for n in range(len(pairs))]
    crossing = [sum(other == n for other in folds) for n in range(len(pairs))]
    out = []
    for n, name in enumerate(pairs.names):
        partner, miss = folds[n], misses[n]
        # Of two pairs that cross, the one that more of the others accuse, or that lies farther off, is the one to look at.
        folding = partner is not None and (crossing[n], miss or 0.0) >= (crossing[partner], misses[partner] or 0.0)
        crosses = pairs.names[partner] if folding and partner is not None else None
        reason = _reason(miss, limit, crosses) if (look := seen[n]) is None else _seen_reason(look, miss, spread, crosses)
        off = float(np.linalg.norm(left[n]))
        out.append(PairDoubt(name, miss, off, partner is not None, bool(reason), reason, None if look is None else look.worse))
    return tuple(out)


def _nearest(points: Float[np.ndarray, "n 3"], used: Bool[np.ndarray, "n"], which: int) -> tuple[np.ndarray, np.ndarray]:
    apart = np.linalg.norm(points - points[which], axis=1)
    others = np.flatnonzero(used & (np.arange(len(points)) != which))
    others = others[np.argsort(apart[others])][:NEIGHBORS]
    return others, apart[others]


def _predicted(
    points: Float[np.ndarray, "n 3"], left: Float[np.ndarray, "n 3"], used: Bool[np.ndarray, "n"], which: int
) -> Float[np.ndarray, "3"] | None:
    others, apart = _nearest(points, used, which)
    if len(others) < LEAST_NEIGHBORS:
        return None
    weight = 1 / np.maximum(apart, 1e-3) ** 2
    return np.asarray(weight @ left[others] / weight.sum())


def _fold_partner(
    points: Float[np.ndarray, "n 3"], targets: Float[np.ndarray, "n 3"], used: Bool[np.ndarray, "n"], which: int
) -> int | None:
    """Return the neighbor with which a pair changes places, or falls together; None if there is none."""
    for other in _nearest(points, used, which)[0]:
        way, after = points[other] - points[which], targets[other] - targets[which]
        before_mm, after_mm = float(np.linalg.norm(way)), float(np.linalg.norm(after))
        if before_mm > 0 and (way @ after <= 0 or after_mm < SQUEEZED * before_mm or before_mm < SQUEEZED * after_mm):
            return int(other)
    return None


def _seen_reason(look: Look, miss: float | None, spread: float, crosses: str | None) -> str:
    off = USUAL_MISS if miss is None else min(miss / spread, MISS_AT_MOST)
    reasons = []
    if look.worse * (1 + SURE_PART * look.confidence) + MISS_PART * off > LIMIT:
        expected = "" if miss is None else f", and {miss:.1f} mm from where its neighbors expect it"
        reasons.append(f"the images are {100 * look.worse:.0f} % less alike at this partner than at the best place around{expected}")
    if crosses is not None:
        reasons.append(f"needs a fold between it and {crosses}")
    return "; ".join(reasons)


def _reason(miss: float | None, limit: float, crosses: str | None) -> str:
    reasons = []
    if miss is not None and miss > limit:
        reasons.append(f"{miss:.1f} mm from where its neighbors and the automatic result expect it (up to {limit:.1f} mm is usual here)")
    if crosses is not None:
        reasons.append(f"needs a fold between it and {crosses}")
    return "; ".join(reasons)
