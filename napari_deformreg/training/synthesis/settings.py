"""What the generator draws from: frozen, bounded, JSON-able. Every number of a sample is drawn anew from these ranges.

Lengths called `_vox` are meant for a lattice whose longest axis has `REFERENCE_SIZE` voxels and grow with the lattice (unless
`scale_with_size` is off): a 128³ lattice is taken to show the same field of view more finely.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...errors import SettingsError

REFERENCE_SIZE = 64


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"expected a range (low, high); got ({pair[0]:g}, {pair[1]:g})")
    return pair


Probability = Annotated[float, Field(ge=0, le=1)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Deviation = Annotated[float, Field(ge=0, le=2)]
_Length = Annotated[float, Field(ge=0, le=256)]
ShareRange = Annotated[tuple[_Share, _Share], AfterValidator(_ordered)]
DeviationRange = Annotated[tuple[_Deviation, _Deviation], AfterValidator(_ordered)]
LengthRange = Annotated[tuple[_Length, _Length], AfterValidator(_ordered)]
CountRange = Annotated[tuple[Annotated[int, Field(ge=2, le=200)], Annotated[int, Field(ge=2, le=200)]], AfterValidator(_ordered)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ShapeSettings(_Frozen):
    """Label maps of random shapes."""

    label_count: CountRange = (6, 26)
    """How many kinds of shapes compete for the voxels."""
    blob_share: ShareRange = (0.12, 0.4)
    """Size of the shapes: distance of the noise's control points, as a share of the longest axis."""
    irregularity: DeviationRange = (0.0, 0.6)
    """Standard deviation of finer noise (half the distance) added to that of the shapes: bumpy outlines."""
    body_probability: Probability = 0.5
    """How often the shapes fill a rounded body with background (label 0) around it, not the whole field of view."""
    body_radius_share: ShareRange = (0.3, 0.55)
    """Half axes of the body, as a share of each axis of the lattice."""
    shell_probability: Probability = 0.5
    """How often a body has thin layers under its surface, like skin and bone."""
    vessel_probability: Probability = 0.3
    """How often thin branching tubes run through everything."""


class AnatomySettings(_Frozen):
    """Label maps of anatomy, read from a folder."""

    folder: str | None = None
    """Folder of label maps (any format that can be read); None trains on shapes alone."""
    share: Probability = 0.5
    """Share of the samples that show anatomy; without a folder all show shapes."""
    spacing_mm: Annotated[float, Field(gt=0, le=20)] = 3.0
    """Voxel size of the lattice for anatomy."""
    held_out: tuple[str, ...] = ()
    """File names (without suffix) kept for validation and never trained on."""
    zoom: Annotated[tuple[Annotated[float, Field(gt=0.2, le=5)], Annotated[float, Field(gt=0.2, le=5)]], AfterValidator(_ordered)] = (
        0.85,
        1.25,
    )
    """Factor on the voxel size, drawn for each sample and, a little, for each axis."""
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation of the whole pair about each axis."""
    flip_probability: Probability = 0.5
    """How often each axis is flipped (both images)."""
    permute_probability: Probability = 0.3
    """How often the axes change places (both images)."""
    own_deformation_vox: LengthRange = (0.0, 2.0)
    """Standard deviation of a smooth deformation of the anatomy, the same in both images, so that twenty heads look like many."""
    two_subjects_share: Probability = 0.25
    """Share of the anatomy samples whose two images show two different maps, aligned affinely by their labels: no true velocity."""
    strip_probability: Probability = 0.4
    """How often everything outside the brain becomes background (for maps with FreeSurfer's numbers)."""
    tissue_probability: Probability = 0.5
    """How often structures of one tissue look nearly alike, as in acquired images; else each has a contrast of its own (for maps with
    FreeSurfer's numbers)."""
    mirror_probability: Probability = 0.9
    """How often left and right structures have one contrast (for maps with FreeSurfer's numbers)."""


class MotionSettings(_Frozen):
    """The true velocity between the two images."""

    scale_with_size: bool = True
    """Whether the lengths in voxels below, and those of the other groups, grow with the lattice."""
    strength: ShareRange = (0.1, 1.0)
    """Factor on all motion of a pair, the affine part included, drawn once: small motions are as common as large ones."""
    unexplained_vox: LengthRange = (0.0, 0.0)
    """Standard deviation of a fine random deformation of the moving structures that the true velocity does not hold: two subjects differ in
    more than a smooth motion, and what is taught should not depend on every detail having a partner."""
    unexplained_spacing_vox: LengthRange = (3.0, 8.0)
    """Distance of its control points."""
    spacings_vox: tuple[Annotated[float, Field(ge=3, le=256)], ...] = (4.0, 8.0, 16.0, 32.0)
    """Distances of the control points of the random velocities that are added up."""
    sd_max_vox: tuple[_Length, ...] = (0.4, 1.0, 1.8, 2.5)
    """For each distance the largest standard deviation of a component; each sample draws from 0 to it."""
    strain_max: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Largest derivative of a velocity component along an axis (voxel per voxel); steeper draws are scaled down as a whole."""
    affine_probability: Probability = 0.7
    """How often a small affine motion is added to the velocity: what an affine alignment left."""
    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 5.0
    """Largest rotation about each axis."""
    scaling: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """Largest relative scaling along each axis, and largest shear."""
    translation_vox: _Length = 3.0
    """Largest shift along each axis."""

    @model_validator(mode="after")
    def _one_deviation_a_spacing(self) -> MotionSettings:
        if len(self.sd_max_vox) != len(self.spacings_vox):
            raise ValueError(f"expected as many sd_max_vox as spacings_vox ({len(self.spacings_vox)}); got {len(self.sd_max_vox)}")
        return self


class ImageSettings(_Frozen):
    """How labels become images; intensities are in units of the whole range."""

    one_contrast_probability: Probability = 0.5
    """How often both images have one contrast; else each draws its own."""
    one_contrast_change: DeviationRange = (0.0, 0.08)
    """Standard deviation of the change of each label's mean between two images of one contrast."""
    mean: DeviationRange = (0.0, 1.0)
    """Mean intensity of each label."""
    grain_sd: DeviationRange = (0.0, 0.08)
    """Standard deviation of uncorrelated noise in each label, drawn a label."""
    texture_sd: DeviationRange = (0.0, 0.15)
    """Standard deviation of smooth texture in each label, drawn a label."""
    texture_spacing_vox: LengthRange = (3.0, 10.0)
    """Distance of the control points of the texture."""
    shared_texture_probability: Probability = 0.5
    """How often the texture belongs to the tissue and moves with it; else each image has its own."""
    background_zero_probability: Probability = 0.6
    """How often label 0 is empty (air) in both images; else it is a label like the others."""
    hidden_probability: Probability = 0.25
    """How often some labels are background in both images, as in stripped or windowed images."""
    hidden_share: ShareRange = (0.1, 0.6)
    """Share of the labels that are then hidden."""
    missing_probability: Probability = 0.1
    """How often one label looks like another one in one of the images: a structure that this contrast does not show."""
    lesion_probability: Probability = 0.15
    """How often one of the images has a blob that the other one lacks."""
    cut_probability: Probability = 0.1
    """How often one image is empty beyond a plane near its rim: the end of its field of view."""
    bias_sd: DeviationRange = (0.0, 0.3)
    """Standard deviation of the logarithm of the smooth gain over the image."""
    bias_spacing_share: ShareRange = (0.3, 1.0)
    """Distance of that gain's control points, as a share of the longest axis."""
    blur_sd_vox: Annotated[tuple[Annotated[float, Field(ge=0, le=8)], Annotated[float, Field(ge=0, le=8)]], AfterValidator(_ordered)] = (
        0.3,
        1.0,
    )
    """Standard deviation of the blur along each axis; does not grow with the lattice, as scanners are as sharp as their voxels."""
    noise_sd: DeviationRange = (0.0, 0.06)
    """Standard deviation of the noise added at the end."""
    speckle_probability: Probability = 0.1
    """How often an image is multiplied by speckle, as in ultrasound."""
    gamma_log_sd: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Standard deviation of the logarithm of the exponent that the intensities are raised to."""
    thick_slice_probability: Probability = 0.2
    """How often an image is made of thick slices along one axis."""
    thickness_vox: LengthRange = (1.5, 4.0)
    """Their thickness; does not grow with the lattice."""


class SynthesisSettings(_Frozen):
    """Everything the generator is told."""

    size: tuple[Annotated[int, Field(ge=16, le=512)], ...] = (64, 64, 64)
    """Voxels along each axis of the pairs; two numbers make 2-D pairs."""
    margin_share: Annotated[float, Field(ge=0, le=0.5)] = 0.08
    """Kept beyond each side while a pair is made, as a share of the axis, so that real structures move in from there."""
    shapes: ShapeSettings = ShapeSettings()
    anatomy: AnatomySettings = AnatomySettings()
    motion: MotionSettings = MotionSettings()
    images: ImageSettings = ImageSettings()

    @model_validator(mode="after")
    def _two_or_three_axes(self) -> SynthesisSettings:
        if len(self.size) not in (2, 3):
            raise ValueError(f"size: expected two or three axes; got {len(self.size)}")
        return self

    @property
    def unit(self) -> float:
        """What a voxel of the settings is in voxels of this lattice."""
        return max(self.size) / REFERENCE_SIZE if self.motion.scale_with_size else 1.0

    @classmethod
    def from_mapping(cls, given: dict[str, Any]) -> SynthesisSettings:
        """Read settings from a nested mapping; what is left out has its default.

        Raises
        ------
        SettingsError
            If a value is unknown or out of bounds; names the field.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "synthesis"
            raise SettingsError(f"Generator setting {where!r}: {first['msg']}; got {first.get('input')!r}.") from error

    @classmethod
    def from_json(cls, text: str) -> SynthesisSettings:
        """Read settings from JSON.

        Raises
        ------
        SettingsError
            If the text is not a JSON object or a value is unknown or out of bounds.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingsError(f"The generator's settings are not valid JSON: {error}.") from error
        if not isinstance(given, dict):
            raise SettingsError(f"Expected a JSON object of generator settings; got {type(given).__name__}.")
        return cls.from_mapping(given)

    def to_json(self) -> str:
        """Write the settings as JSON that `from_json` reads back."""
        return self.model_dump_json(indent=2)
