"""Similarity figures against numpy and against formulas written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_deformreg.qa.similarity import lncc, ncc, nmi, similarities


@pytest.fixture
def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fixed = ndimage.gaussian_filter(rng.normal(size=(24, 22, 20)), 1.5) * 500 + 1000
    other = fixed + ndimage.gaussian_filter(rng.normal(size=fixed.shape), 1.5) * 200
    mask = np.zeros(fixed.shape, bool)
    mask[3:18, 4:20, 2:17] = True
    return fixed.astype(np.float32), other.astype(np.float32), mask


def test_ncc_is_the_correlation_coefficient(images: tuple[np.ndarray, ...]) -> None:
    fixed, other, mask = images
    assert ncc(fixed, other, mask) == pytest.approx(np.corrcoef(fixed[mask], other[mask])[0, 1])


def test_lncc_window_by_window(images: tuple[np.ndarray, ...]) -> None:
    """Every window of 9 x 9 x 9 by numpy, mirrored at the rim."""
    fixed, other, mask = images
    windows = [
        np.lib.stride_tricks.sliding_window_view(np.pad(image.astype(float), 4, mode="symmetric"), (9, 9, 9))[mask].reshape(mask.sum(), -1)
        for image in (fixed, other)
    ]
    a, b = (w - w.mean(1, keepdims=True) for w in windows)
    expected = ((a * b).sum(1) ** 2 / ((a * a).sum(1) * (b * b).sum(1))).mean()
    assert lncc(fixed, [other], mask)[0] == pytest.approx(expected, rel=1e-3)


def test_identical_images_are_at_the_top(images: tuple[np.ndarray, ...]) -> None:
    fixed, other, mask = images
    same, noisy = similarities(fixed, [fixed, other], mask)
    assert same.ncc == pytest.approx(1)
    assert same.lncc == pytest.approx(1, abs=1e-3)
    assert same.nmi == pytest.approx(2)
    assert noisy.ncc < same.ncc
    assert noisy.lncc < same.lncc
    assert 1 < noisy.nmi < same.nmi


def test_what_does_not_matter(images: tuple[np.ndarray, ...]) -> None:
    """Brightness and contrast change nothing; a reversed contrast only the sign of ncc."""
    fixed, other, mask = images
    plain, stretched, reversed_ = similarities(fixed, [other, 3 * other + 77, 4000 - other], mask)
    assert stretched.ncc == pytest.approx(plain.ncc)
    assert reversed_.ncc == pytest.approx(-plain.ncc)
    assert stretched.lncc == pytest.approx(plain.lncc, rel=1e-3)
    assert reversed_.lncc == pytest.approx(plain.lncc, rel=1e-3)
    assert stretched.nmi == pytest.approx(plain.nmi, rel=1e-2)


def test_independent_images_share_nothing(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 64, 64, 64)).astype(np.float32)
    mask = np.ones(a.shape, bool)
    assert abs(ncc(a, b, mask)) < 0.01
    assert nmi(a, b, mask) == pytest.approx(1, abs=0.01)


def test_a_constant_image_has_no_similarity(images: tuple[np.ndarray, ...]) -> None:
    fixed, _, mask = images
    (nothing,) = similarities(fixed, [np.full_like(fixed, 5)], mask)
    assert (nothing.ncc, nothing.lncc, nothing.nmi) == (None, None, None)


def test_one_slice(images: tuple[np.ndarray, ...]) -> None:
    fixed, other, mask = (image[:, :, 10:11] for image in images)
    (row,) = similarities(fixed, [other], mask)
    assert 0 < row.lncc < 1
