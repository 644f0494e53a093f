"""Where the pairs of each phase come from: the generator, or a user's own images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from ..engine.models import VelocityModel
from ..errors import SettingsError
from .config import Phase, SyntheticData, TrainingConfig
from .pairs import PairSource


class Sources(Protocol):
    """The pairs of a training."""

    spacing_mm: float
    """Voxel size that the pairs stand for."""

    def opening(self) -> Iterator[tuple[int, int]]:
        """Read what is read once; yields how many of how many."""
        ...

    def training(self, phase: int) -> PairSource:
        """Return the pairs to learn from in a phase."""
        ...

    def held_out(self) -> PairSource:
        """Return the pairs that are never learned from; as in the last phase."""
        ...

    def held_out_count(self) -> int:
        """Tell how many of these are looked at."""
        ...


Maker = Callable[[dict[str, Any], int, torch.device, bool], PairSource]
"""Makes a source of synthetic pairs from the generator's settings, a seed, a device, and whether it is for validation."""


class SyntheticSources:
    """Pairs from the generator, other settings in each phase.

    Parameters
    ----------
    config : TrainingConfig
        With synthetic data.
    device : torch.device
        Where pairs are made.
    labels : Path, optional
        Folder of label maps for anatomy; goes before the folder that the settings name.
    maker : callable
        Makes a source; the project's own generator when left out.
    """

    def __init__(self, config: TrainingConfig, device: torch.device, labels: Path | None = None, maker: Maker | None = None) -> None:
        if not isinstance(config.data, SyntheticData):
            raise SettingsError("Expected synthetic data in the configuration.")
        self._config, self._device, self._labels = config, device, labels
        self._maker = maker or GeneratorMaker()
        self.spacing_mm = config.data.spacing_mm
        self._held: PairSource | None = None
        self._open: tuple[int, PairSource] | None = None

    def opening(self) -> Iterator[tuple[int, int]]:
        """Read the label maps."""
        self.training(0)
        yield 1, 1

    def settings(self, phase: Phase) -> dict[str, Any]:
        """Return the generator's settings in a phase."""
        assert isinstance(self._config.data, SyntheticData)
        given = merged(self._config.data.generator, phase.generator)
        if self._labels is not None:
            given = merged(given, {"anatomy": {"folder": str(self._labels)}})
        return {**given, "size": self._config.shape_of(phase)}

    def training(self, phase: int) -> PairSource:
        """Return the pairs of a phase; only one phase is kept open."""
        if self._open is None or self._open[0] != phase:
            self._open = (phase, self._maker(self.settings(self._config.phases[phase]), self._config.seed, self._device, False))
        return self._open[1]

    def held_out(self) -> PairSource:
        """Return pairs from another seed, and of the label maps that the settings hold out, where they do."""
        if self._held is None:
            self._held = self._maker(self.settings(self._config.phases[-1]), self._config.validation.seed, self._device, True)
        return self._held

    def held_out_count(self) -> int:
        """Tell how many pairs a validation looks at."""
        return self._config.validation.pairs


class GeneratorMaker:
    """Makes the project's own generator; label maps are read once for all phases."""

    def __init__(self) -> None:
        self._read: dict[tuple[str | None, float], Any] = {}

    def __call__(self, settings: dict[str, Any], seed: int, device: torch.device, held_out: bool) -> PairSource:
        """Make a source; for validation of the label maps that are held out, where some are."""
        from .synthesis import SynthesisSettings, SyntheticPairs

        known = SynthesisSettings.from_mapping(settings)
        key = (known.anatomy.folder, known.anatomy.spacing_mm)
        kept = held_out and bool(known.anatomy.held_out)
        source = SyntheticPairs(known, seed, device, held_out=kept, maps=self._read.get(key))
        self._read[key] = source.folder
        return source


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with some values changed."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def check_shapes(config: TrainingConfig, model: VelocityModel) -> None:
    """Refuse lattices that the network cannot take.

    Raises
    ------
    SettingsError
        If a size is not a multiple of the network's own plus its offset, or the number of axes differs.
    """
    for number, phase in enumerate(config.phases):
        shape = config.shape_of(phase)
        wrong = [n for n in shape if (n - model.offset) % model.multiple or n <= model.offset]
        if wrong:
            near = [max(round((n - model.offset) / model.multiple), 1) * model.multiple + model.offset for n in shape]
            raise SettingsError(
                f"Phase {number + 1} has pairs of {shape} voxels; this network needs sizes of {model.multiple} k + {model.offset}. "
                f"Take for example {tuple(near)}."
            )
        if len(shape) != len(config.data.shape):
            raise SettingsError(f"Phase {number + 1} has {len(shape)} axes, `data` {len(config.data.shape)}. Give all the same.")

