"""Synthetic pairs, made when asked for: each a function of (seed, index)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError, SettingsError
from ..pairs import TrainingPair
from .anatomy import AnatomyFolder, draw_placement, read_folder, same_view
from .draws import Draws
from .fields import composed, exponential, places, pulled
from .images import Cast, Look, acquired, draw_looks, render, with_lesion
from .motions import affine_velocity, draw_velocity, with_gentle_slopes
from .scene import Scene, plain_scene
from .settings import SynthesisSettings
from .shapes import draw_shapes

_OWN_DEFORMATION_SPACING_VOX = (10.0, 32.0)
_HALF_A_STEP = 0.25
_OWN_DEFORMATION_SLOPE = 0.4
"""Below 1, so that a map deformed by x -> x + w(x) does not fold."""


@dataclass(frozen=True, eq=False)
class _Sample:
    """What is shown, before anything is rendered; velocity and motion cover the lattice and its margin."""

    fixed: Scene
    moving: Scene
    cast: Cast
    velocity: Float[Tensor, "1 d *padded"]
    known: bool
    own: Float[Tensor, "1 d *padded"] | None = None


class SyntheticPairs:
    """Any number of synthetic pairs. Structures that both images hide are background in their label maps as well.

    Parameters
    ----------
    settings : SynthesisSettings
        What is drawn from.
    seed : int
        With the index it determines a pair, on every device to float precision.
    device : torch.device
        Where pairs are made.
    held_out : bool
        Whether anatomy comes from the maps that are kept for validation, instead of from the others.
    maps : AnatomyFolder, optional
        Maps read before (two sources may share them); else the folder of the settings is read.

    Raises
    ------
    SettingsError
        If a map is asked for that is not there, or the maps do not suit the lattice.
    """

    def __init__(
        self,
        settings: SynthesisSettings,
        seed: int = 0,
        device: torch.device | None = None,
        *,
        held_out: bool = False,
        maps: AnatomyFolder | None = None,
    ) -> None:
        self.settings, self.seed, self.device = settings, seed, device or torch.device("cpu")
        self._padding = tuple(round(settings.margin_share * n) for n in settings.size)
        self._padded = tuple(n + 2 * p for n, p in zip(settings.size, self._padding, strict=True))
        self.folder = maps
        if maps is None and settings.anatomy.folder is not None:
            self.folder = read_folder(settings.anatomy.folder, settings.anatomy.spacing_mm)
        self.chosen = _chosen_maps(self.folder, settings, held_out)

    @torch.no_grad()
    def pair(self, index: int) -> TrainingPair:
        """Make pair number `index`."""
        draws = Draws(self.seed, index, self.device)
        sample = self._anatomy(draws) if self.chosen and draws.chance(self.settings.anatomy.share) else self._shapes(draws)
        back = exponential(sample.velocity, -1.0)
        fixed_labels, fixed_beside = _labels_at(sample.fixed, self._looked_at(None, sample.own))
        moving_places = self._looked_at(back, sample.own)
        if self.settings.motion.unexplained_vox[1] > 0:
            moving_places += self._unexplained(draws)
        moving_labels, moving_beside = _labels_at(sample.moving, moving_places)
        textures = self._textures(draws, back)
        present = torch.bincount(fixed_labels.reshape(-1), minlength=sample.cast.count)[1:].nonzero()[:, 0] + 1
        looks = draw_looks(draws, replace(sample.cast, present=tuple(present.tolist())), self.settings.images)
        fixed = self._image(draws, fixed_labels, fixed_beside, looks[0], textures[0])
        moving = self._image(draws, moving_labels, moving_beside, looks[1], textures[1])
        velocity = self._cropped(sample.velocity).contiguous() if sample.known else None
        seen = looks[0].seen | looks[1].seen
        return TrainingPair(fixed, moving, (fixed_labels * seen[fixed_labels])[None], (moving_labels * seen[moving_labels])[None], velocity)

    def _image(self, draws: Draws, labels: Tensor, beside: Tensor | None, look: Look, texture: Tensor) -> Tensor:
        image = render(draws, labels, look, texture, beside)
        if draws.chance(self.settings.images.lesion_probability):
            image = with_lesion(draws, image, look.seen[labels])
        return acquired(draws, image, self.settings.images)

    def _shapes(self, draws: Draws) -> _Sample:
        labels = draw_shapes(draws, self._padded, self.settings.shapes)
        velocity = draw_velocity(draws, self._padded, self.settings.motion, self.settings.unit)
        scene = plain_scene(labels, self._padding)
        return _Sample(scene, scene, Cast(int(labels.max()) + 1), velocity, known=True)

    def _anatomy(self, draws: Draws) -> _Sample:
        settings, folder = self.settings.anatomy, self.folder
        if folder is None:
            raise InputError("Anatomy was asked for without a folder of label maps.")
        order = draws.order(len(self.chosen))
        shown = folder.maps[self.chosen[order[0]]]
        fixed = draw_placement(draws, shown, self.settings.size, settings)
        own = self._own_deformation(draws)
        cast = Cast(
            len(folder.numbers),
            hidden=self._stripped(draws),
            mirrored=folder.mirrored if draws.chance(settings.mirror_probability) else (),
            tissues=folder.tissues if draws.chance(settings.tissue_probability) else (),
        )
        if len(order) > 1 and draws.chance(settings.two_subjects_share):
            moving = same_view(fixed, shown, folder.maps[self.chosen[order[1]]], self.device)
            left = draws.within(self.settings.motion.strength) * self._affine(draws)
            return _Sample(fixed, moving, cast, left, False, own)
        velocity = draw_velocity(draws, self._padded, self.settings.motion, self.settings.unit)
        return _Sample(fixed, fixed, cast, velocity, True, own)

    def _affine(self, draws: Draws) -> Float[Tensor, "1 d *padded"]:
        """Draw what an affine alignment leaves."""
        motion = self.settings.motion
        share = 1.0 if draws.chance(motion.affine_probability) else 0.0
        return share * affine_velocity(draws, self._padded, motion, self.settings.unit)[None]

    def _own_deformation(self, draws: Draws) -> Float[Tensor, "1 d *padded"]:
        unit = self.settings.unit
        deviation = draws.within(self.settings.anatomy.own_deformation_vox) * unit
        spacing = draws.within(_OWN_DEFORMATION_SPACING_VOX) * unit
        field = deviation * draws.smooth(len(self._padded), self._padded, spacing)
        return with_gentle_slopes(field, _OWN_DEFORMATION_SLOPE)[None]

    def _unexplained(self, draws: Draws) -> Float[Tensor, "d *spatial"]:
        """Draw how the moving structures differ beside the motion; slopes are kept low enough that none is torn."""
        motion, unit = self.settings.motion, self.settings.unit
        spacing = max(draws.within(motion.unexplained_spacing_vox) * unit, 2.0)
        field = draws.within(motion.unexplained_vox) * unit * draws.smooth(len(self._padded), self.settings.size, spacing)
        return with_gentle_slopes(field, _OWN_DEFORMATION_SLOPE)

    def _stripped(self, draws: Draws) -> tuple[int, ...]:
        """Choose the labels outside the brain that both images lack."""
        folder = self.folder
        if folder is None or folder.outside_brain is None or not draws.chance(self.settings.anatomy.strip_probability):
            return ()
        outside = [int(label) for label in folder.outside_brain.nonzero()[0]]
        return (*outside, folder.fluid) if folder.fluid is not None and draws.chance(0.5) else tuple(outside)

    def _looked_at(self, motion: Float[Tensor, "1 d *padded"] | None, own: Float[Tensor, "1 d *padded"] | None) -> Tensor:
        """Places in the scene of every voxel of the lattice: moved first, then deformed as the map itself is."""
        field = motion if own is None else own if motion is None else composed(own, motion)
        x = places(self.settings.size, self.device, (0,) * len(self.settings.size))
        return x if field is None else x + self._cropped(field)[0]

    def _textures(self, draws: Draws, back: Float[Tensor, "1 d *padded"]) -> tuple[Tensor, Tensor]:
        spacing = max(draws.within(self.settings.images.texture_spacing_vox) * self.settings.unit, 2.0)
        if draws.chance(self.settings.images.shared_texture_probability):
            tissue = draws.smooth(1, self._padded, spacing)[None]
            return self._cropped(tissue)[0, 0], self._cropped(pulled(tissue, back))[0, 0]
        own = draws.smooth(2, self.settings.size, spacing)
        return own[0], own[1]

    def _cropped(self, field: Float[Tensor, "1 c *padded"]) -> Float[Tensor, "1 c *spatial"]:
        window = [slice(p, p + n) for p, n in zip(self._padding, self.settings.size, strict=True)]
        return field[(slice(None), slice(None), *window)]


def _labels_at(scene: Scene, places_vox: Float[Tensor, "d *spatial"]) -> tuple[Tensor, Tensor | None]:
    """Look up the label at each place; in a map finer than the lattice also a second one within the voxel, for partial volumes."""
    if not scene.finer:
        return scene.at(places_vox), None
    return scene.at(places_vox - _HALF_A_STEP), scene.at(places_vox + _HALF_A_STEP)


def _chosen_maps(folder: AnatomyFolder | None, settings: SynthesisSettings, held_out: bool) -> list[int]:
    if folder is None:
        if held_out and settings.anatomy.held_out:
            raise SettingsError("Held-out label maps are named, but no folder of label maps is given. Set anatomy.folder.")
        return []
    names = [anatomy.name for anatomy in folder.maps]
    unknown = sorted(set(settings.anatomy.held_out) - set(names))
    if unknown:
        raise SettingsError(f"There is no label map named {', '.join(unknown)} to hold out; there are {', '.join(names)}.")
    if folder.dimensions < len(settings.size):
        raise SettingsError(f"The label maps are 2-D, the pairs are to be {settings.size}. Give two sizes, or label maps of three axes.")
    chosen = [n for n, name in enumerate(names) if (name in settings.anatomy.held_out) == held_out]
    if not chosen:
        raise SettingsError("No label map is left: " + ("none is held out." if held_out else "all are held out. Hold out fewer."))
    return chosen
