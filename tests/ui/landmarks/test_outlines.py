"""Outlines of shapes, by geometry."""

import numpy as np
import pytest

from napari_deformreg.ui.landmarks.outlines import ELLIPSE_VERTICES, corners_of, densified, flattened, within_slices


def test_an_ellipse_becomes_the_polygon_inscribed_in_its_own_corners():
    """Every vertex fulfills (y/5)^2 + (x/3)^2 = 1 around the center; turned ones as well."""
    corners = np.array([[7.0, -5.0, -3.0], [7.0, 5.0, -3.0], [7.0, 5.0, 3.0], [7.0, -5.0, 3.0]])
    found = corners_of("ellipse", corners + np.array([0, 2.0, 9.0])) - np.array([0, 2.0, 9.0])
    assert found.shape == (ELLIPSE_VERTICES, 3)
    np.testing.assert_allclose((found[:, 1] / 5) ** 2 + (found[:, 2] / 3) ** 2, 1, atol=1e-12)
    np.testing.assert_array_equal(found[:, 0], 7.0)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(corners_of("ellipse", corners @ turned), corners_of("ellipse", corners) @ turned, atol=1e-12)


@pytest.mark.parametrize("closed", [True, False])
def test_a_dense_line_keeps_its_corners_and_its_length(closed, rng):
    line = rng.normal(size=(5, 3)) * 10
    dense = densified(line, closed, 0.7)
    ring = np.concatenate([line, line[:1]]) if closed else line
    dense_ring = np.concatenate([dense, dense[:1]]) if closed else dense
    steps = np.linalg.norm(np.diff(dense_ring, axis=0), axis=1)
    assert steps.max() <= 0.7 + 1e-9
    assert steps.sum() == pytest.approx(np.linalg.norm(np.diff(ring, axis=0), axis=1).sum())
    assert all((np.abs(dense - corner).max(axis=1) < 1e-12).any() for corner in line)


def test_a_line_within_one_slice_stays_whole():
    line = np.array([[4.2, 0, 0], [3.8, 5, 0], [4.49, 5, 5.0]])
    (piece,) = within_slices(line, True, 0)
    np.testing.assert_array_equal(piece, line)


@pytest.mark.parametrize("closed", [True, False])
def test_pieces_lie_in_one_slice_each_and_together_are_the_line(closed, rng):
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    line = np.stack([6 + 2.3 * np.sin(angle), 20 * np.cos(angle), 20 * np.sin(angle)], axis=1)
    pieces = within_slices(line, closed, 0)
    assert len(pieces) > 4
    assert all(len(set(np.floor(piece[:, 0] + 0.5))) == 1 for piece in pieces)
    ring = np.concatenate([line, line[:1]]) if closed else line
    whole = np.linalg.norm(np.diff(ring, axis=0), axis=1).sum()
    length = sum(np.linalg.norm(np.diff(piece, axis=0), axis=1).sum() for piece in pieces)
    assert length == pytest.approx(whole, abs=0.01 * len(pieces))
    everywhere = np.concatenate(pieces)
    assert all((np.abs(everywhere - vertex).max(axis=1) < 1e-9).any() for vertex in line)


def test_a_line_is_pushed_into_the_slice_that_most_of_it_lies_in():
    line = np.array([[3.4, 0, 0], [4.6, 5, 0], [4.4, 5, 5], [4.0, 2, 5], [3.6, 1.0, 1.0]])
    flat = flattened(line, 0)
    np.testing.assert_array_equal(flat[:, 0], 4.0)
    np.testing.assert_array_equal(flat[:, 1:], line[:, 1:])
