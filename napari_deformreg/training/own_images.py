"""Pairs of a user's own images: in canonical orientation, at a working spacing, aligned, with labels and landmarks where there are any."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..engine.affine import align_steps
from ..engine.models.predict import as_in_training
from ..engine.prepare import canonical_labels, canonical_volume, pulled, scaled
from ..engine.pyramid import at_grid
from ..engine.resample import resample_labels
from ..engine.tensors import Placed
from ..errors import InputError, SettingsError
from ..io import READERS, ImageFile, PairFiles, image_groups, read_image, read_labels, read_landmarks, read_pair_list
from ..settings import Settings
from ..space import AffineTransform, Grid, LabelMap, LandmarkPairs, Volume
from .config import ImageData, TrainingConfig
from .pairs import PairSource, TrainingPair
from .randomness import seeded

Choice = tuple[PairFiles, ...] | dict[str, list[ImageFile]]
"""A list of pairs, or groups of images that pairs are drawn from."""

CPU = torch.device("cpu")

T = TypeVar("T")

MOST_VOXELS = 1_000_000_000
"""Of images and label maps kept in memory at the working spacing: 4 to 8 GB. More are read again when they are needed."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image at the working spacing over its whole field of view."""

    image: Placed
    labels: LabelMap | None


class ImageStore:
    """Reads images once, as long as there is room."""

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self.spacing_mm = data.spacing_mm
        self._kept: dict[ImageFile, Prepared] = {}
        self._affines: dict[tuple[ImageFile, ImageFile], AffineTransform] = {}

    def image(self, file: ImageFile) -> Prepared:
        """Read and prepare an image with its labels.

        Raises
        ------
        InputError
            If it cannot be used: number of dimensions, NaN, constant.
        """
        if file not in self._kept:
            prepared = self._read(file)
            if sum(prod(kept.image.grid.shape) for kept in self._kept.values()) < MOST_VOXELS:
                self._kept[file] = prepared
            return prepared
        return self._kept[file]

    def _read(self, file: ImageFile) -> Prepared:
        volume = canonical_volume(read_image(file.image))
        self._check(volume, file)
        if self.spacing_mm is None:
            self.spacing_mm = float(min(s for s, n in zip(volume.grid.spacing, volume.grid.shape, strict=True) if n > 1))
        grid = isotropic(volume.grid, self.spacing_mm)
        placed = at_grid(scaled(volume, Settings(intensity_range=self.data.intensity_range), CPU, None), grid)
        labels = None
        if file.labels is not None:
            labels = resample_labels(canonical_labels(read_labels(file.labels)), grid, AffineTransform.identity())
        return Prepared(placed, labels)

    def _check(self, volume: Volume, file: ImageFile) -> None:
        axes, wanted = sum(n > 1 for n in volume.grid.shape), len(self.data.shape)
        if axes != wanted:
            raise InputError(
                f"{file.image} has {axes} dimensions {volume.grid.shape}; data.shape {self.data.shape} has {wanted}. "
                "Give images of one kind, and a shape with as many numbers."
            )
        if not np.isfinite(volume.data).all():
            raise InputError(f"{file.image} has NaN or infinite voxels; expected finite intensities. Replace them.")

    def affine(self, fixed: ImageFile, moving: ImageFile) -> AffineTransform:
        """Return the alignment of a pair, fixed to moving world; that of the two in reverse order is its inverse."""
        if self.data.align == "header":
            return AffineTransform.identity()
        first, second = sorted((fixed, moving), key=lambda file: str(file.image))
        if (first, second) not in self._affines:
            self._affines[first, second] = self._aligned(self.image(first).image, self.image(second).image)
        found = self._affines[first, second]
        return found if first == fixed else found.inverse()

    def _aligned(self, fixed: Placed, moving: Placed) -> AffineTransform:
        if self.data.align == "center":
            matrix = np.eye(4)
            matrix[:3, 3] = moving.grid.center - fixed.grid.center
            return AffineTransform(matrix)
        steps = align_steps(fixed, moving, Settings(modality=self.data.modality))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                affine: AffineTransform = end.value.affine
                return affine


def isotropic(grid: Grid, spacing_mm: float) -> Grid:
    """Return the grid over the same field of view with about this spacing along each axis; an axis of one voxel stays."""
    sides = zip(grid.shape, grid.spacing, strict=True)
    shape = [1 if n == 1 else max(round((n - 1) * spacing / spacing_mm), 1) + 1 for n, spacing in sides]
    return grid.resized((shape[0], shape[1], shape[2]))


class ImagePairs:
    """Pairs of images on a lattice of a fixed shape around the fixed image.

    Parameters
    ----------
    store : ImageStore
        Reads the images.
    choice : list of pairs, or groups of images
        What is drawn from: each pair of a list once in each round, in random order; of groups any two images of one group.
    shape : tuple of int
        Of the lattice.
    seed : int
        With the index it determines the pair.
    jitter : bool
        Whether a lattice smaller than the image lies at a random place; else in the middle.
    """

    def __init__(self, store: ImageStore, choice: Choice, shape: tuple[int, ...], seed: int, jitter: bool) -> None:
        self._store, self._choice, self._shape, self._seed, self._jitter = store, choice, shape, seed, jitter

    def pair(self, index: int) -> TrainingPair:
        """Read pair number `index`."""
        draw = seeded(self._seed, "pair", index)
        files = self._files(index, draw)
        fixed, moving = self._store.image(files.fixed), self._store.image(files.moving)
        affine = self._store.affine(files.fixed, files.moving)
        lattice = self._lattice(fixed.image.grid, draw)
        images = [self._on(lattice, prepared.image, a) for prepared, a in ((fixed, AffineTransform.identity()), (moving, affine))]
        labels = [self._labels_on(lattice, fixed.labels, AffineTransform.identity()), self._labels_on(lattice, moving.labels, affine)]
        points = self._landmarks(files, lattice, affine)
        return TrainingPair(images[0], images[1], labels[0], labels[1], None, points[0], points[1])

    def _files(self, index: int, draw: torch.Generator) -> PairFiles:
        if not isinstance(self._choice, dict):
            count = len(self._choice)
            order = torch.randperm(count, generator=seeded(self._seed, "round", index // count))
            return self._choice[int(order[index % count])]
        everyone = [name for name, files in self._choice.items() for _ in files]
        group = self._choice[everyone[int(torch.randint(len(everyone), (), generator=draw))]]
        first, second = torch.randperm(len(group), generator=draw)[:2].tolist()
        return PairFiles(group[first], group[second])

    def _lattice(self, grid: Grid, draw: torch.Generator) -> Grid:
        """Cut a window out of a grid (or one that reaches beyond it), on whole voxels, so that the fixed image is not resampled again."""
        axes = [axis for axis in range(3) if grid.shape[axis] > 1]
        start, shape = np.zeros(3), [1, 1, 1]
        for axis, n in zip(axes, self._shape, strict=True):
            slack = grid.shape[axis] - n
            part = float(torch.rand((), generator=draw)) if self._jitter and slack > 0 else 0.5
            start[axis], shape[axis] = np.floor(slack * part), n
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        return Grid((shape[0], shape[1], shape[2]), affine)

    def _on(self, lattice: Grid, image: Placed, affine: AffineTransform) -> Tensor:
        """Pull an image onto the lattice and stretch it as when a trained model predicts."""
        return as_in_training(pulled(image, lattice, affine)).reshape(1, 1, *self._shape)

    def _labels_on(self, lattice: Grid, labels: LabelMap | None, affine: AffineTransform) -> Tensor | None:
        if labels is None:
            return None
        return torch.from_numpy(resample_labels(labels, lattice, affine).data.astype(np.int64)).reshape(1, *self._shape)

    def _landmarks(self, files: PairFiles, lattice: Grid, affine: AffineTransform) -> tuple[Tensor | None, Tensor | None]:
        if files.fixed_landmarks is None or files.moving_landmarks is None:
            return None, None
        pairs = LandmarkPairs.match(read_landmarks(files.fixed_landmarks), read_landmarks(files.moving_landmarks))
        sides = pairs.fixed_points, affine.inverse().map(pairs.moving_points)
        axes = [axis for axis in range(3) if lattice.shape[axis] > 1]
        fixed, moving = (torch.from_numpy(lattice.world_to_voxel(points)[:, axes].astype(np.float32)) for points in sides)
        # A window of the image does not show all of them.
        seen = ((fixed >= 0) & (fixed <= torch.tensor(self._shape) - 1.0)).all(dim=1)
        return (fixed[None, seen], moving[None, seen]) if bool(seen.any()) else (None, None)


class ImageSources:
    """A user's images as the pairs of a training.

    Parameters
    ----------
    config : TrainingConfig
        With image data.

    Raises
    ------
    InputError
        If there are no images, or too few to hold some out.
    """

    def __init__(self, config: TrainingConfig) -> None:
        data = config.data
        if not isinstance(data, ImageData) or (data.pairs is None) == (data.folder is None):
            raise SettingsError("Expected image data with either `pairs`, a list, or `folder`; got both or none. Give one of the two.")
        self._config, self._data = config, data
        self._learned, self._held = _split(data, config.seed)
        self._store = ImageStore(data)
        self.spacing_mm = data.spacing_mm or 1.0

    def opening(self) -> Generator[tuple[int, int], None, None]:
        """Read every image once, so that unusable ones are known before the first step; yields how many of how many."""
        files = list(dict.fromkeys([*_files_of(self._learned), *_files_of(self._held)]))
        for number, file in enumerate(files, 1):
            self._store.image(file)
            yield number, len(files)
        self.spacing_mm = self._store.spacing_mm or self.spacing_mm

    def training(self, phase: int) -> PairSource:
        """Return the pairs of a phase."""
        return ImagePairs(self._store, self._learned, self._config.shape_of(self._config.phases[phase]), self._config.seed, True)

    def held_out(self) -> PairSource:
        """Return the pairs that are kept for validation."""
        return ImagePairs(self._store, self._held, self._config.shape_of(self._config.phases[-1]), self._config.validation.seed, False)

    def held_out_count(self) -> int:
        """Tell how many pairs a validation looks at: of a list no pair twice."""
        count = self._config.validation.pairs
        return count if isinstance(self._held, dict) else min(count, len(self._held))


def _files_of(choice: Choice) -> list[ImageFile]:
    if isinstance(choice, dict):
        return [file for files in choice.values() for file in files]
    return [file for pair in choice for file in (pair.fixed, pair.moving)]


def _split(data: ImageData, seed: int) -> tuple[Choice, Choice]:
    """Share out pairs or images among learning and validation."""
    learned: Choice
    if data.pairs is not None:
        learned = tuple(read_pair_list(data.pairs))
    else:
        assert data.folder is not None
        learned = image_groups(data.folder, data.labels, READERS)
    if data.validation_pairs is not None:
        return learned, tuple(read_pair_list(data.validation_pairs))
    if data.held_out == 0:
        return learned, learned
    if not isinstance(learned, dict):
        kept, others = _drawn(learned, max(1, round(data.held_out * len(learned))), seed)
        if not others:
            raise InputError(f"{data.pairs} has too few pairs to hold one out. Give more, or validation_pairs, or set held_out to 0.")
        return tuple(others), tuple(kept)
    parts = {name: _drawn(files, max(2, round(data.held_out * len(files))), seed) for name, files in learned.items() if len(files) > 3}
    if not parts:
        raise InputError(f"{data.folder} has too few images to hold two out. Give more, or validation_pairs, or set held_out to 0.")
    small = {name: files for name, files in learned.items() if name not in parts}
    return {**small, **{name: others for name, (_, others) in parts.items()}}, {name: kept for name, (kept, _) in parts.items()}


def _drawn(items: Sequence[T], count: int, seed: int) -> tuple[list[T], list[T]]:
    """Draw some items; returns them and the others, both in their order."""
    chosen = set(torch.randperm(len(items), generator=seeded(seed, "held out", len(items)))[:count].tolist())
    return [item for n, item in enumerate(items) if n in chosen], [item for n, item in enumerate(items) if n not in chosen]
