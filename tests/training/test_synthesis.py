"""Synthetic pairs are reproducible, sound over many seeds, and what the settings say; refusals tell what to do."""

import numpy as np
import pytest
import torch

from napari_deformreg.cli import main
from napari_deformreg.engine import differentiable
from napari_deformreg.errors import InputError, SettingsError
from napari_deformreg.io import write_labels
from napari_deformreg.space import Grid, LabelMap
from napari_deformreg.training.synthesis import SynthesisSettings, SyntheticPairs, settings_for_sheet
from napari_deformreg.training.synthesis.anatomy import read_folder
from napari_deformreg.training.synthesis.draws import Draws, spline
from napari_deformreg.training.synthesis.fields import exponential
from napari_deformreg.training.synthesis.images import robustly_scaled
from napari_deformreg.training.synthesis.motions import affine_velocity
from napari_deformreg.training.synthesis.settings import MotionSettings

CPU = torch.device("cpu")
LAS = np.diag([-2.0, 2.0, 2.0, 1.0])
TENSORS = ("fixed", "moving", "fixed_labels", "moving_labels", "velocity_vox")


def ball_map(shift, numbers=(2, 41, 10, 49), size=40):
    """Nested and neighboring balls: asymmetric, so that a mirrored axis shows."""
    x = np.stack(np.indices((size, size + 4, size - 6)), -1) - np.array([18.0, 20.0, 15.0]) - np.array(shift)
    data = np.zeros(x.shape[:3], dtype=np.int32)
    for number, center, radius in zip(numbers, ((0, 0, 0), (7, 2, 0), (-6, 0, 3), (0, -7, -4)), (12, 5, 5, 4), strict=True):
        data[((x - np.array(center)) ** 2).sum(-1) < radius**2] = number
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("maps")
    for name, shift in (("a.nii.gz", (0, 0, 0)), ("b.mgz", (2, -1, 1)), ("c.nrrd", (-1, 1, 0))):
        data = ball_map(shift)
        write_labels(place / name, LabelMap(data, Grid(data.shape, LAS)))
    (place / "readme.txt").write_text("not a map")
    return place


def pairs_of(size, seed=0, **given):
    return SyntheticPairs(SynthesisSettings.from_mapping({"size": size, **given}), seed)


def anatomy_pairs(folder, size=(24, 24, 24), seed=0, **anatomy):
    return pairs_of(size, seed, anatomy={"folder": str(folder), "share": 1.0, "spacing_mm": 3.0, **anatomy})


@pytest.mark.parametrize("size", [(24, 24, 24), (40, 48)])
def test_the_same_seed_and_index_give_the_same_pair_bit_by_bit_in_any_order(size, folder):
    first, second = (anatomy_pairs(folder, size, share=0.5) for _ in range(2))
    backwards = {index: second.pair(index) for index in reversed(range(6))}
    for index in range(6):
        one, other = first.pair(index), backwards[index]
        for name in TENSORS:
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a, b)
    assert not torch.equal(first.pair(0).fixed, first.pair(1).fixed)
    assert not torch.equal(first.pair(0).fixed, pairs_of(size, seed=1).pair(0).fixed)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_two_hundred_pairs_are_sound(share, folder):
    sources = [anatomy_pairs(folder, size, share=share) for size in ((20, 24, 18), (32, 30))]
    several = 0
    for index in range(100):
        for pair in (source.pair(index) for source in sources):
            for image in (pair.fixed, pair.moving):
                assert image.dtype == torch.float32
                assert torch.isfinite(image).all()
                assert float(image.min()) >= 0
                assert float(image.max()) <= 1
                assert float(image.std()) > 1e-3
            assert pair.fixed_labels.shape == pair.fixed[:, 0].shape == pair.moving_labels.shape
            assert pair.fixed_labels.dtype == torch.int64
            several += len(pair.fixed_labels.unique()) >= 4
            if pair.velocity_vox is not None:
                assert pair.velocity_vox.shape[1] == pair.fixed.dim() - 2
                assert torch.isfinite(pair.velocity_vox).all()
    assert several > (190 if share == 0 else 120)  # slices of four balls may well meet two of them


def test_smooth_noise_has_the_deviation_and_the_correlation_that_were_asked_for():
    draws = Draws(0, 0, CPU)
    fields = torch.cat([draws.smooth(4, (48, 48, 48), 6.0) for _ in range(4)])
    assert float(fields.std()) == pytest.approx(1, abs=0.05)
    shifted = float((fields[:, 6:] * fields[:, :-6]).mean() / (fields * fields).mean())
    # The autocorrelation of a cubic B-spline of random coefficients at one control distance is (1191/5040) / (2416/5040).
    assert shifted == pytest.approx(1191 / 2416, abs=0.06)


def test_the_spline_reproduces_constants_and_straight_lines():
    controls = torch.arange(12.0)[None] - 1
    line = spline(controls[:, :10], (25,), 4.0)[0]
    torch.testing.assert_close(line, torch.arange(25) / 4.0)


@pytest.mark.parametrize("shape", [(33, 29), (21, 25, 23)])
def test_the_affine_part_of_the_velocity_is_the_logarithm_of_an_affine_map(shape):
    settings = MotionSettings(rotation_deg=20.0, scaling=0.1, translation_vox=2.0)
    velocity = affine_velocity(Draws(5, 0, CPU), shape, settings, 1.0)
    moved = exponential(velocity[None])[0]
    # The generator is read off the velocity by finite differences; scipy's matrix exponential knows nothing of squaring.
    from scipy.linalg import expm

    d, center = len(shape), tuple(n // 2 for n in shape)
    generator = np.zeros((d + 1, d + 1))
    for axis in range(d):
        step = list(center)
        step[axis] += 1
        generator[:d, axis] = velocity[(slice(None), *step)] - velocity[(slice(None), *center)]
    generator[:d, d] = velocity[(slice(None), *center)].numpy() - generator[:d, :d] @ np.array(center)
    matrix = expm(generator)
    for place in (center, tuple(n // 3 for n in shape), tuple(n // 2 + 3 for n in shape)):
        expected = matrix[:d, :d] @ np.array(place) + matrix[:d, d] - np.array(place)
        np.testing.assert_allclose(moved[(slice(None), *place)], expected, atol=0.05)


def test_the_exponential_agrees_with_training_and_inverts():
    velocity = pairs_of((40, 40, 40), seed=2).pair(3).velocity_vox
    inner = (slice(None), slice(None), *[slice(10, -10)] * 3)
    torch.testing.assert_close(exponential(velocity)[inner], differentiable.integrate(velocity)[inner], atol=0.15, rtol=0)
    both = differentiable.compose(exponential(velocity, -1.0), exponential(velocity))
    assert float(both[inner].norm(dim=1).mean()) < 0.05


def test_anatomy_is_read_turned_and_renumbered(folder):
    read = read_folder(folder, spacing_mm=2.0)
    assert [anatomy.name for anatomy in read.maps] == ["a", "b", "c"]
    assert read.numbers == (0, 2, 10, 41, 49)
    data = read.maps[0].labels.numpy()
    expected = np.searchsorted(read.numbers, ball_map((0, 0, 0)))[::-1]  # left to right becomes right to left
    np.testing.assert_array_equal(data, expected)
    assert read_folder(folder, spacing_mm=8.0).maps[0].labels.shape == (20, 22, 17)


def test_two_subjects_are_aligned_by_their_labels_and_have_no_known_velocity(folder):
    plain = {"own_deformation_vox": (0, 0), "zoom": (1, 1)}
    images = {"hidden_probability": 0.0}
    source = pairs_of(
        (28, 28, 28), anatomy={"folder": str(folder), "share": 1, "spacing_mm": 2.5, "two_subjects_share": 1, **plain},
        motion={"affine_probability": 1, "translation_vox": 0, "rotation_deg": 0, "scaling": 0}, images=images,
    )  # fmt: skip
    for index in range(4):
        pair = source.pair(index)
        assert pair.velocity_vox is None
        same = (pair.fixed_labels == pair.moving_labels).float().mean()
        assert same > 0.93  # the same balls, shifted by up to two voxels of the files, come to lie on each other


def test_held_out_maps_are_shown_only_when_asked_for(folder):
    settings = SynthesisSettings.from_mapping({"size": (24, 24, 24), "anatomy": {"folder": str(folder), "held_out": ["b"]}})
    train, held = SyntheticPairs(settings), SyntheticPairs(settings, held_out=True)
    assert [train.folder.maps[n].name for n in train.chosen] == ["a", "c"]
    assert [held.folder.maps[n].name for n in held.chosen] == ["b"]


def test_slices_of_flat_maps_make_2d_pairs(tmp_path):
    data = ball_map((0, 0, 0))[:, :, 15:16]
    write_labels(tmp_path / "flat.nii", LabelMap(data, Grid(data.shape, LAS)))
    pair = anatomy_pairs(tmp_path, (32, 32)).pair(0)
    assert pair.fixed.shape == (1, 1, 32, 32)
    assert len(pair.fixed_labels.unique()) > 2
    with pytest.raises(SettingsError, match="2-D"):
        anatomy_pairs(tmp_path, (32, 32, 32))


def test_a_patch_larger_than_the_map_is_filled_with_background(folder):
    pair = anatomy_pairs(folder, (64, 64, 64), zoom=(1, 1)).pair(1)
    assert pair.fixed.shape == (1, 1, 64, 64, 64)
    assert float((pair.fixed_labels[:, :4] == 0).float().mean()) == 1


def test_settings_survive_json_and_are_bounded():
    settings = SynthesisSettings.from_mapping({"size": (80, 96), "motion": {"strain_max": 0.5}, "anatomy": {"held_out": ["x"]}})
    assert SynthesisSettings.from_json(settings.to_json()) == settings
    for wrong, words in (
        ({"size": (64,)}, "two or three axes"),
        ({"size": (8, 8)}, "greater than or equal to 16"),
        ({"images": {"noise_sd": (0.5, 0.1)}}, "range"),
        ({"shapes": {"blobs": 3}}, "blobs"),
        ({"motion": {"sd_max_vox": (1.0,)}}, "as many"),
        ({"anatomy": {"share": 1.5}}, "share"),
    ):
        with pytest.raises(SettingsError, match=words):
            SynthesisSettings.from_mapping(wrong)
    for text in ("{", "[1]"):
        with pytest.raises(SettingsError, match="JSON"):
            SynthesisSettings.from_json(text)


def test_every_setting_is_explained():
    groups = [
        SynthesisSettings,
        *(field.annotation for field in SynthesisSettings.model_fields.values() if hasattr(field.annotation, "model_fields")),
    ]
    fields = [(group.__name__, name, field) for group in groups for name, field in group.model_fields.items()]
    assert len(fields) > 40
    assert [name for group, name, field in fields if not field.description and not hasattr(field.annotation, "model_fields")] == []


def test_folders_that_cannot_be_used_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="found none"):
        read_folder(tmp_path, 2.0)
    with pytest.raises(InputError, match="found none"):
        read_folder(tmp_path / "not there", 2.0)
    one = np.zeros((20, 20, 20), dtype=np.int32)
    one[5:15, 5:15, 5:15] = 1
    write_labels(tmp_path / "one.nii.gz", LabelMap(one, Grid(one.shape, LAS)))
    with pytest.raises(InputError, match="'one' has fewer than two structures"):
        read_folder(tmp_path, 2.0)
    with pytest.raises(SettingsError, match="no label map named zz"):
        anatomy_pairs(folder, held_out=("zz",))
    with pytest.raises(SettingsError, match="Hold out fewer"):
        anatomy_pairs(folder, held_out=("a", "b", "c"))


def test_labels_that_both_images_hide_are_not_in_the_label_maps():
    hide = {"hidden_probability": 1.0, "hidden_share": (0.5, 0.5), "missing_probability": 0.0, "background_zero_probability": 1.0}
    shown = pairs_of((48, 48), images={**hide, "hidden_probability": 0.0}, shapes={"body_probability": 0.0}).pair(2)
    hidden = pairs_of((48, 48), images=hide, shapes={"body_probability": 0.0}).pair(2)
    assert 3 <= len(hidden.fixed_labels.unique()) < len(shown.fixed_labels.unique())
    assert (hidden.fixed_labels == 0).any()


def test_robust_scaling_ignores_outliers_and_survives_constants():
    ramp = torch.linspace(10, 20, 1000).reshape(1, 1, 25, 40)
    ramp[0, 0, 0, 0], ramp[0, 0, -1, -1] = -1e6, 1e6
    scaled = robustly_scaled(ramp)
    assert float(scaled.min()) == 0
    assert float(scaled.max()) == 1
    assert float(scaled.flatten()[500]) == pytest.approx(0.5, abs=0.01)
    assert torch.equal(robustly_scaled(torch.full((1, 1, 8, 8), 3.0)), torch.zeros(1, 1, 8, 8))


def test_the_command_draws_a_sheet(tmp_path, folder, capsys):
    target = tmp_path / "sheet.png"
    assert main(["train-samples", "--out", str(target), "--labels", str(folder), "--size", "32", "32", "--count", "3", "--seed", "4"]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert str(target) in capsys.readouterr().out
    cubes = tmp_path / "cubes.png"
    assert main(["train-samples", "--out", str(cubes), "--size", "20", "20", "20", "--count", "1"]) == 0
    assert len(cubes.read_bytes()) > 10_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "sheet.jpg"], "ends in .png"),
        (["--out", "s.png", "--count", "0"], "at least one"),
        (["--out", "nowhere/s.png"], "Make it first"),
        (["missing.json", "--out", "s.png"], "Cannot read"),
        (["--out", "s.png", "--size", "4", "4"], "greater than or equal to 16"),
    ],
)
def test_the_command_says_what_is_wrong(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train-samples", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_sheet_shows_the_last_phase_of_a_training_configuration(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(
        '{"data": {"shape": [32, 32], "generator": {"shapes": {"blob_share": [0.2, 0.2]}}}, "phases": [{}, {"shape": [48, 40]}]}'
    )
    settings = settings_for_sheet(file, None, None)
    assert settings.size == (48, 40)
    assert settings.shapes.blob_share == (0.2, 0.2)
    file.write_text('{"data": {"kind": "images"}}')
    with pytest.raises(SettingsError, match="acquired images"):
        settings_for_sheet(file, None, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_pair():
    settings = SynthesisSettings.from_mapping({"size": (32, 32, 32)})
    here, there = SyntheticPairs(settings, 1), SyntheticPairs(settings, 1, torch.device("cuda"))
    for index in range(4):
        a, b = here.pair(index), there.pair(index)
        torch.testing.assert_close(a.velocity_vox, b.velocity_vox.cpu(), atol=1e-4, rtol=0)
        assert (a.fixed_labels == b.fixed_labels.cpu()).float().mean() > 0.999
        assert ((a.fixed - b.fixed.cpu()).abs() < 1e-2).float().mean() > 0.995
