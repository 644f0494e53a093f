"""Everything a run is told: frozen models, presets, JSON. One source for the command line, the form and the file."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import SettingsError

SimilarityName = Literal["lncc", "mind_ssc", "nmi", "mse", "ncc"]
RegularizerName = Literal["none", "diffusion_l2", "diffusion_l1", "bending"]
PresetName = Literal["generic", "brain-mri", "lung-ct", "abdomen", "multimodal", "slice-2d"]
DeviceName = Literal["auto", "cpu", "cuda"]
EffortName = Literal["fast", "default", "best"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AffineSettings(_Frozen):
    """The start position and the affine stage."""

    mode: Literal["none", "rigid", "affine"] = "affine"
    """How far the images are aligned before they are deformed: not at all, turned and shifted, or also scaled and sheared."""
    start: Literal["auto", "header", "center", "landmarks"] = "auto"
    """Where the search begins: several positions and orientations, the headers', centers together, or through given landmark pairs."""
    similarity: Literal["auto", "ncc", "nmi", "mind_ssc"] = "auto"
    """What the affine stage compares; auto takes ncc for one modality and nmi with MIND for two."""


class SearchSettings(_Frozen):
    """The training-free coarse search for large motion."""

    mode: Literal["auto", "on", "off"] = "auto"
    """Whether to run it; auto runs it and keeps its result only where the similarity agrees."""
    reach_mm: Annotated[float, Field(ge=0, le=200)] = 24.0
    """Largest motion looked for, in mm, beyond the affine."""


class RefineSettings(_Frozen):
    """The refinement of the velocity field."""

    mode: Literal["on", "off"] = "on"
    """Whether to deform at all."""
    similarity: SimilarityName = "lncc"
    """Data term."""
    lncc_radius_vox: Annotated[int, Field(ge=1, le=8)] = 3
    """Radius of the local correlation window, in voxels of the level."""
    shrink_factors: tuple[Annotated[float, Field(ge=1, le=16)], ...] = (8.0, 4.0, 2.0, 1.0)
    """Pyramid levels, coarse to fine: the level's spacing in units of the finest spacing of the fixed image."""
    steps: tuple[Annotated[int, Field(ge=0, le=2000)], ...] = (60, 60, 40, 40)
    """Optimizer steps at most, one a level."""
    flows: Annotated[int, Field(ge=1, le=8)] = 1
    """Stationary flows composed one after the other; each after the first goes over the two finest levels again, from the moved image."""
    later_gain: Annotated[float, Field(ge=0, le=1)] = 0.05
    """A flow after the first is kept only if it lowers the loss by at least this fraction; else what came before it is the result."""
    cpu_budget_mvox: Annotated[float, Field(gt=0)] = 75.0
    """On the CPU a level gets at most this many million voxel-steps; a level for which that means under two steps is left out."""
    cpu_velocity_mvox: Annotated[float, Field(ge=0.001)] = 0.6
    """On the CPU the velocity's lattice has at most this many million voxels; larger levels compare finer images, but are moved by it."""
    regularizer: RegularizerName = "diffusion_l2"
    """Smoothness term on the velocity, in mm, beside the Gaussian smoothing."""
    regularizer_weight: Annotated[float, Field(ge=0, le=100)] = 0.3
    """Its weight against the data term."""
    update_smoothing_vox: Annotated[float, Field(ge=0, le=10)] = 1.5
    """Standard deviation of the Gaussian that smooths each step, in voxels of the velocity (their mean size: the same in mm each way)."""
    velocity_smoothing_vox: Annotated[float, Field(ge=0, le=10)] = 1.4
    """Standard deviation of the Gaussian that smooths the velocity after each step, likewise."""
    step_size_vox: Annotated[float, Field(gt=0, le=2)] = 0.5
    """Largest change of the velocity in one step, in its voxels."""
    flat_region_damping: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Keeps places with little gradient from being moved at full speed: added to each voxel's gradient norm, in units of the mean norm."""
    symmetric: bool = True
    """Whether fixed and moving play the same part (costs one more integration a step)."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 1e-3
    """A level ends when the loss fell by less than this fraction over ten steps."""
    least_gain: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The deformation is kept only if it lowers the data term by at least this fraction; else the affine alone is the result."""
    landmark_weight: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Weight of given landmark pairs; 0 keeps them for judging only."""
    label_weight: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Weight of given label maps; 0 keeps them for judging only."""

    @model_validator(mode="after")
    def _one_step_count_a_level(self) -> RefineSettings:
        if len(self.steps) != len(self.shrink_factors):
            raise ValueError(f"expected as many steps as shrink_factors ({len(self.shrink_factors)}); got {len(self.steps)} steps")
        return self


class FoldSettings(_Frozen):
    """What is done against folds."""

    barrier_steps: Annotated[int, Field(ge=0, le=200)] = 5
    """Last steps of the finest level in which a barrier holds the ten determinants above the margin."""
    margin: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Smallest determinant that the barrier and the repair accept; folds are at 0."""
    repair: bool = True
    """Whether to repair folds that are left in the exported field."""


class CorrectionSettings(_Frozen):
    """How a landmark pair or a region corrects a finished registration."""

    radius_mm: Annotated[float, Field(gt=0, le=300)] = 25.0
    """Nothing farther than this from the touched landmarks moves."""
    points_weight: Annotated[float, Field(ge=0, le=1)] = 0.8
    """From trusting the image (0) to hitting the points (1)."""
    use_image: bool = True
    """Whether the images take part; else the pairs alone are followed, by a smooth spline within the radius."""
    steps: Annotated[int, Field(ge=0, le=500)] = 24
    """Optimizer steps, over all levels."""
    margin_mm: Annotated[float, Field(gt=0, le=100)] = 12.0
    """Around a region that is solved again, what is blended with the rest of the field."""


class Settings(_Frozen):
    """A whole run."""

    preset: PresetName = "generic"
    """The preset these settings began as (they may have been changed since)."""
    modality: Literal["same", "different"] = "same"
    """Whether the two images show the same kind of contrast."""
    effort: EffortName = "default"
    """How much time to take: fast, default or best. It scales what the other settings ask for; they are kept as they are."""
    device: DeviceName = "auto"
    """Where to compute; auto takes a CUDA GPU when there is one."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random; the same seed gives the same result."""
    model: Annotated[str, Field(min_length=1)] = "auto"
    """The network whose prediction may start the refinement: auto (the preset's, where it has one), none, a bundled model, or a file."""
    intensity_range: tuple[float, float] | None = None
    """Intensities outside are clipped before comparing (Hounsfield units for CT); None takes robust percentiles."""
    held_out: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Part of given landmark pairs, evenly picked, that never drive the registration, so that they can judge it."""
    affine: AffineSettings = AffineSettings()
    search: SearchSettings = SearchSettings()
    refine: RefineSettings = RefineSettings()
    folds: FoldSettings = FoldSettings()

    @property
    def chosen_model(self) -> str:
        """What `model` comes to: none, a bundled model, or a file."""
        return PRESET_MODELS.get(self.preset, "none") if self.model == "auto" else self.model

    @property
    def at_effort(self) -> Settings:
        """The settings as the engine runs them: what the effort scales is scaled."""
        effort, refine = EFFORTS[self.effort], self.refine
        if self.effort == "default":
            return self
        scaled = {
            "cpu_budget_mvox": refine.cpu_budget_mvox * effort.work,
            "cpu_velocity_mvox": min(refine.cpu_velocity_mvox, effort.lattice_mvox),
            "steps": tuple(min(round(steps * effort.steps), 2000) for steps in refine.steps),
            "tolerance": min(refine.tolerance * effort.tolerance, 1.0),
            "flows": max(refine.flows, effort.flows.get(self.preset, 1)),
        }
        return self.model_copy(update={"refine": refine.model_copy(update=scaled)})

    @classmethod
    def from_preset(cls, name: str) -> Settings:
        """Return the settings of a preset.

        Raises
        ------
        SettingsError
            If there is no such preset.
        """
        if name not in PRESETS:
            raise SettingsError(f"There is no preset {name!r}. Known presets: {', '.join(PRESETS)}.")
        return cls.model_validate({"preset": name, **PRESETS[name]})

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read settings from JSON; what is left out comes from the preset that it names.

        Raises
        ------
        SettingsError
            If the text is not JSON or a value is unknown or out of bounds; names the field.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingsError(f"The settings are not valid JSON: {error}.") from error
        if not isinstance(given, dict):
            raise SettingsError(f"Expected a JSON object of settings; got {type(given).__name__}.")
        return cls.from_mapping(given)

    @classmethod
    def from_mapping(cls, given: dict[str, Any]) -> Settings:
        """Read settings from a nested mapping; what is left out comes from the preset that it names."""
        base = cls.from_preset(str(given.get("preset", "generic"))).model_dump()
        try:
            return cls.model_validate(_merged(base, given))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "value_error":  # several settings at odds: the message has said it all
                raise SettingsError(f"Settings {where!r}: {first['msg'].removeprefix('Value error, ')}.") from error
            raise SettingsError(f"Setting {where!r}: {first['msg']}; got {first.get('input')!r}.") from error

    def to_json(self) -> str:
        """Write the settings as JSON that `from_json` reads back."""
        return self.model_dump_json(indent=2)

    def changed(self, **changes: Any) -> Settings:
        """Return a copy with some (nested) values changed; checked like any other input."""
        return Settings.from_mapping(_merged(self.model_dump(), changes))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


PRESETS: dict[str, dict[str, Any]] = {
    "generic": {},
    # The folded cortex differs between subjects on the scale of a voxel or two: finer motion is allowed than in other organs.
    # Absolute slopes (weight .03) would take whole heads from .85 to .82 mm at the same Dice, but leave more than twice the folds, and
    # the repair of one place then evened out 150 000 voxels of brain_t1. Six full-resolution steps of a 1 mm head (45 million voxel-steps)
    # are as good as twenty.
    "brain-mri": {
        "refine": {
            "velocity_smoothing_vox": 0.5, "update_smoothing_vox": 1.2, "regularizer": "diffusion_l2", "regularizer_weight": 0.05,
            "cpu_budget_mvox": 45.0, "cpu_velocity_mvox": 1.2,
        },
    },
    "lung-ct": {"intensity_range": (-1000.0, 200.0)},
    # Organs slide along the wall. Self-similarity is dragged along less than local correlation, absolute slopes let the motion change
    # abruptly there, and smoother steps carry what has no contrast of its own: liver landmarks of two volunteers 3.01, 2.55 mm to 2.29,
    # 1.96 and 1.03, .96 to 1.02, .99 (absolute slopes and smoother steps help both). Lungs gain nothing from absolute slopes.
    "abdomen": {
        "refine": {
            "similarity": "mind_ssc", "update_smoothing_vox": 3.0, "velocity_smoothing_vox": 1.0, "flat_region_damping": 0.2,
            "regularizer": "diffusion_l1", "regularizer_weight": 0.1,
        },
    },
    "multimodal": {
        "modality": "different",
        "refine": {
            "similarity": "mind_ssc",
            "update_smoothing_vox": 3.0,
            "velocity_smoothing_vox": 1.0,
            "regularizer": "bending",
            "regularizer_weight": 30.0,
            "cpu_budget_mvox": 150.0,
            "cpu_velocity_mvox": 1.2,
            # Descriptors that hardly resemble each other still come 1 to 11 % nearer by a deformation that means nothing
            # (MR and ultrasound, averages of T1 and T2 with known truth); a real deformation brings T1 and T2 50 % nearer (phantom).
            "least_gain": 0.15,
        },
    },
    # With a level at 8 as well, five pairs of brain slices lose .012 of Dice (why is not known). A plane's window holds fewer voxels than
    # a volume's of the same radius: with 4 instead of 3 four of the five gain, .006 in the mean. Slices of up to 800 x 800 take all steps;
    # of sections of 1780 x 1466 pixels the finest level takes 15 in each flow, and landmarks end where 57 brought them in twice the time.
    "slice-2d": {
        "refine": {
            "lncc_radius_vox": 4, "velocity_smoothing_vox": 0.7, "regularizer": "diffusion_l1", "regularizer_weight": 0.03,
            "shrink_factors": (4.0, 2.0, 1.0), "steps": (60, 60, 60), "flows": 2, "cpu_budget_mvox": 40.0, "cpu_velocity_mvox": 1.2,
        },
    },
}
"""What each preset changes against the defaults."""

PRESET_HELP: dict[str, str] = {
    "generic": "One modality, any organ; neighboring stained sections too.",
    "brain-mri": "Two brain MR images of one contrast, with or without skull.",
    "lung-ct": "Chest CT at two breathing states; intensities in Hounsfield units.",
    "abdomen": "Abdominal MR or CT with breathing motion.",
    "multimodal": "Two different contrasts or modalities (T1 and T2, MR and CT, MR and ultrasound).",
    "slice-2d": "Single slices of a scan; a second flow follows what one alone cannot reach, where it gains enough.",
}
"""One sentence a preset, for the form and the command line."""


class Effort(_Frozen):
    """What one effort makes of the settings."""

    work: float = 1.0
    """Times the CPU's voxel-steps a level; a level that is left with too few is left out."""
    lattice_mvox: float = math.inf
    """The velocity's lattice has at most this many million voxels on the CPU, whatever the settings allow."""
    steps: float = 1.0
    """Times the steps."""
    tolerance: float = 1.0
    """Times the tolerance."""
    flows: dict[PresetName, Annotated[int, Field(ge=1, le=8)]] = {}
    """Flows one after the other, at least, in presets where more were found to pay."""
    search_with_network: Literal["never", "rival", "full"] = "rival"
    """The coarse search beside a network: never; as a rival, coarser and so in an eighth of the time, and in full where it wins even so or
    the network's start is no better than none; or always in full. (In slices it takes no time: a rival is one in full there.)"""
    inverse_residual_vox: float = 0.0
    """Mean residual at which the inverse is not improved any further."""
    integrate_full: bool = True
    """Whether the exported deformation is integrated at full resolution, or on the velocity's lattice and then resized."""


EFFORTS: dict[EffortName, Effort] = {
    "fast": Effort(
        work=0.25, lattice_mvox=0.3, steps=0.6, tolerance=3.0, search_with_network="never", inverse_residual_vox=0.002, integrate_full=False
    ),
    "default": Effort(),
    # A finer lattice, more steps and a lower tolerance paid nowhere where they were tried (mouse_1_2: Dice .872 for .873). A second flow
    # makes mice (.873 to .870) and lungs (.917 to .910) worse, and brain_t1 better (.803 to .812).
    "best": Effort(search_with_network="full", flows={"brain-mri": 2}),
}
"""What each effort multiplies."""

EFFORT_HELP: dict[EffortName, str] = {
    "fast": "a preview within seconds",
    "default": "nearly the best, in a fraction of the time",
    "best": "the search in full, and a second flow in brains: two to three times the time",
}
"""A few words an effort, for the form and the command line."""

BUNDLED_MODELS: dict[str, str] = {
    "general-3d": "Volumes of any contrast, about 2 mm; a small first version that learned from synthetic images alone.",
    "general-2d": "Slices of any contrast, about 1 mm; a small first version that learned from synthetic images alone.",
}
"""One sentence a bundled model, for the form and the command line; their files are in `engine.models.weights`."""

PRESET_MODELS: dict[str, str] = {
    "brain-mri": "general-3d",
    "lung-ct": "general-3d",
    "abdomen": "general-3d",
    "slice-2d": "general-2d",
}
"""The bundled model that a preset takes when `model` is auto; a preset without one takes none (the generic one, which must not presume a
body's size, and two modalities, on which none was measured)."""

if not set(PRESET_MODELS) <= set(PRESETS) or not set(PRESET_MODELS.values()) <= set(BUNDLED_MODELS):
    raise AssertionError("PRESET_MODELS must name presets and bundled models.")
if set(EFFORTS) != set(get_args(EffortName)) or set(EFFORT_HELP) != set(EFFORTS):
    raise AssertionError("EFFORTS, EFFORT_HELP and EffortName must name the same efforts.")
if set(PRESETS) != set(get_args(PresetName)) or set(PRESET_HELP) != set(PRESETS):  # a table and its Literal must not drift apart
    raise AssertionError("PRESETS, PRESET_HELP and PresetName must name the same presets.")
