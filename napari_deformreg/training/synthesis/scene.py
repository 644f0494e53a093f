"""What a sample shows: a label map that can be looked at anywhere, in any orientation, so that motion brings in real structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """A label map and how the pair's lattice lies in it.

    Attributes
    ----------
    labels : uint8 tensor, 2-D or 3-D
        Structures, 0 is background.
    matrix : (D, d) array
        From voxels of the lattice, counted from `origin_vox`, to voxels of the map; D axes of the map, d of the lattice.
    origin_vox : (d,) array
        Place on the lattice that lies at `target_vox`.
    target_vox : (D,) array
        Place in the map.
    beyond : bool
        Whether the map's rim goes on for ever; else there is background beyond it.
    """

    labels: UInt8[Tensor, "*map"]
    matrix: Float[np.ndarray, "D d"]
    origin_vox: Float[np.ndarray, "d"]
    target_vox: Float[np.ndarray, "D"]
    beyond: bool = False

    @property
    def finer(self) -> bool:
        """Whether the map has clearly smaller voxels than the lattice."""
        return bool(np.linalg.norm(self.matrix, axis=0).min() > 1.3)

    def at(self, places_vox: Float[Tensor, "d *spatial"]) -> Int[Tensor, "*spatial"]:
        """Look up the nearest voxel's structure at places on the lattice."""
        spatial = tuple(places_vox.shape[1:])
        matrix = torch.from_numpy(self.matrix).to(places_vox)
        offset = torch.from_numpy(self.target_vox - self.matrix @ self.origin_vox).to(places_vox)
        nearest = torch.addmm(offset[:, None], matrix, places_vox.reshape(len(places_vox), -1)).round_()
        flat = torch.zeros(nearest.shape[1], dtype=torch.int32, device=nearest.device)
        inside = None
        for axis, size in enumerate(self.labels.shape):
            held = nearest[axis].clamp(0, size - 1)
            flat = flat.mul_(size).add_(held.to(torch.int32))
            if not self.beyond:
                within = held == nearest[axis]
                inside = within if inside is None else inside & within
        found = self.labels.reshape(-1).index_select(0, flat).long()
        if inside is not None:
            found *= inside
        return found.reshape(spatial)


def plain_scene(labels: UInt8[Tensor, "*map"], padding: tuple[int, ...]) -> Scene:
    """Return the scene of a map that lies on the lattice itself, with some voxels more on each side."""
    d = labels.dim()
    return Scene(labels, np.eye(d), np.zeros(d), np.array(padding, dtype=np.float64), beyond=True)
