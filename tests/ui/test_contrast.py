"""What is shown between black and white: Hounsfield windows for CT, robust limits for everything else."""

import numpy as np
import pytest

from napari_deformreg.ui.contrast import LUNG_WINDOW, SOFT_TISSUE_WINDOW, contrast_limits, hounsfield_window


def scan(**parts):
    """Make voxels of which given parts have given Hounsfield units, with noise."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(int(40**3 * part), hu) for hu, part in parts.values()])
    values = np.concatenate([values, np.full(40**3 - len(values), -1000.0)])
    return (rng.permutation(values) + rng.normal(0, 15, 40**3)).reshape(40, 40, 40)


def test_a_chest_is_shown_in_the_lung_window():
    chest = scan(lung=(-780, 0.2), soft=(40, 0.4), bone=(600, 0.05))
    assert hounsfield_window(chest) == LUNG_WINDOW
    assert contrast_limits(chest) == LUNG_WINDOW


def test_an_abdomen_is_shown_in_the_soft_tissue_window():
    abdomen = scan(lung=(-780, 0.03), soft=(60, 0.35), bone=(500, 0.05), padding=(-2048, 0.2))
    assert contrast_limits(abdomen) == SOFT_TISSUE_WINDOW


@pytest.mark.parametrize(
    "other",
    [
        np.random.default_rng(1).uniform(-4096, 4095, (30, 30, 30)),  # signed phase
        np.random.default_rng(1).gamma(2.0, 300.0, (30, 30, 30)),  # magnitude
        np.random.default_rng(1).uniform(-1000, 3000, (30, 30, 30)) * 1e-3,
    ],
)
def test_other_images_have_no_hounsfield_window(other):
    assert hounsfield_window(other) is None


def test_background_does_not_burn_out_a_small_organ():
    """An organ of half a percent of the volume keeps its contrast: the limits follow it, not the emptiness around it."""
    image = np.zeros((60, 60, 60))
    image[:10, :10, :10] = np.linspace(100, 1000, 1000).reshape(10, 10, 10)
    low, high = contrast_limits(image)
    assert low == 0
    assert high == pytest.approx(np.percentile(image[image > 0], 99.5), rel=0.05)


def test_one_bright_voxel_decides_nothing():
    image = np.random.default_rng(2).uniform(10, 100, (50, 50, 50))
    image[25, 25, 25] = 1e6
    low, high = contrast_limits(image)
    assert 10 <= low < 12
    assert 98 < high <= 100


def test_a_constant_image_has_limits():
    low, high = contrast_limits(np.full((4, 4, 4), 7.0))
    assert low < 7 < high
