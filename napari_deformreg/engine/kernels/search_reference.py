"""Plain-torch twins of the coarse search's kernels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def _spread(values: Tensor, block: int) -> Tensor:
    """Share (1, 1, i, j, k) values out linearly to control points that lie `block` voxels apart."""
    if block == 1:
        return values
    hat = 1 - torch.arange(1 - block, block, device=values.device).abs() / block
    out = values
    for axis in (2, 3, 4):
        if values.shape[axis] == 1:
            continue
        shape, stride, padding = [1, 1, 1, 1, 1], [1, 1, 1], [0, 0, 0]
        shape[axis], stride[axis - 2], padding[axis - 2] = len(hat), block, block - 1
        out = F.conv3d(out, hat.view(shape).to(out), stride=stride, padding=padding)
    return out


def _shifted(image: Tensor, label: np.ndarray) -> Tensor:
    """Read (1, c, i, j, k) at x + label, zero beyond the lattice."""
    out = torch.zeros_like(image)
    into, source = [slice(None)] * 2, [slice(None)] * 2
    for axis, d in enumerate(int(d) for d in label):
        n = image.shape[2 + axis]
        into.append(slice(max(0, -d), max(0, min(n, n - d))))
        source.append(slice(min(n, max(0, d)), max(0, min(n, n + d))))
    out[tuple(into)] = image[tuple(source)]
    return out


def matching_cost(
    fixed: Tensor, moving: Tensor, fixed_weight: Tensor, moving_weight: Tensor, labels: np.ndarray, block: int
) -> tuple[Tensor, Tensor]:
    """Twin of `search_cpu.matching_cost` on (1, c, i, j, k) features and (1, 1, i, j, k) weights; returns (1, n, a, b, c) tensors."""
    cost, known = [], []
    for label in labels:
        weight = fixed_weight * _shifted(moving_weight, label)
        difference = (fixed - _shifted(moving, label)).square().sum(dim=1, keepdim=True)
        cost.append(_spread(weight * difference, block))
        known.append(_spread(weight, block))
    return torch.cat(cost, dim=1), torch.cat(known, dim=1)


def coupled_minimum(cost: Tensor, labels: np.ndarray, flow: Tensor, coupling: float, unit: np.ndarray) -> Tensor:
    """Twin of `search_cpu.coupled_minimum` on (1, n, a, b, c) costs and (1, 3, a, b, c) fields."""
    best = torch.full_like(cost[:, :1], torch.inf)
    out = torch.zeros_like(flow)
    scale = torch.tensor(unit, dtype=flow.dtype, device=flow.device).view(1, 3, 1, 1, 1)
    for index, label in enumerate(labels):
        d = torch.tensor(label, dtype=flow.dtype, device=flow.device).view(1, 3, 1, 1, 1)
        total = cost[:, index : index + 1] + coupling * (scale * (d - flow)).square().sum(dim=1, keepdim=True)
        better = total < best
        best = torch.where(better, total, best)
        out = torch.where(better, d.expand_as(out), out)
    return out
