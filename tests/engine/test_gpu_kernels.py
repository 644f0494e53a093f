"""Each Triton kernel equals its plain-torch twin: on a GPU if there is one, else in Triton's interpreter (see conftest.py)."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: CUDA builds of torch for Linux bring it")

from napari_deformreg.engine import optimize, register, similarities
from napari_deformreg.engine.kernels import gpu, gpu_check, reference
from napari_deformreg.engine.prepare import LevelPair
from napari_deformreg.engine.sampling import box_sum
from napari_deformreg.engine.tensors import Placed
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import Settings
from napari_deformreg.space import Grid

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("there is no GPU, and Triton was not told to interpret (TRITON_INTERPRET=1)", allow_module_level=True)

SHAPES = [(5, 7, 3), (1, 9, 6), (7, 1, 5), (6, 5, 1), (2, 3, 5)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """The interpreter is slow: blocks and lattices so small that every shape still needs several blocks, with a rest."""
    if DEVICE.type == "cpu":
        for name, size in {"BLOCK": 16, "LINES": 8, "SEGMENT": 4, "LONGEST_BLOCK": 32}.items():
            monkeypatch.setattr(gpu, name, size)
        monkeypatch.setattr(gpu_check, "CHECK_SHAPES", ((5, 6, 3), (5, 1, 3)))
    monkeypatch.setattr(gpu_check, "_refused", {})


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(11)


def vectors(generator, shape, size=2.5):
    field = size * torch.randn((1, 3, *shape), generator=generator)
    for axis, n in enumerate(shape):
        if n == 1:
            field[:, axis] = 0
    return field


def assert_same(found, expected, atol=1e-5):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), expected, atol=atol, rtol=1e-4)


def on(*tensors):
    return tuple(tensor.to(DEVICE) for tensor in tensors)


def test_compose(generator, shape):
    outer, inner = vectors(generator, shape), vectors(generator, shape)
    assert_same(gpu.compose(*on(outer, inner), 0.5, -0.7), reference.compose(outer, inner, 0.5, -0.7))


def test_half_precision_is_read_and_single_written(generator):
    """All kernels read through one function; what they calculate is in single precision."""
    outer, inner = (vectors(generator, (3, 4, 5)).bfloat16() for _ in range(2))
    assert_same(gpu.compose(*on(outer, inner)), reference.compose(outer.float(), inner.float()))
    image, weight = (torch.rand((1, 1, 6, 7, 5), generator=generator).bfloat16() for _ in range(2))
    found = gpu.warp(*on(image, inner), torch.eye(3), torch.ones(3), True, *on(weight))
    expected = reference.warp(image.float(), inner.float(), torch.eye(3), torch.ones(3), True, weight.float())
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, atol=1e-4)
    assert_same(gpu.box_sum(*on(image), 1), reference.box_sum(image.float(), 1), atol=1e-4)


def test_positions_far_outside_and_fields_that_are_no_numbers_read_within_the_array(generator):
    outer, inner = vectors(generator, (4, 5, 3)), vectors(generator, (4, 5, 3), 1e4)
    assert_same(gpu.compose(*on(outer, inner)), reference.compose(outer, inner), atol=2e-3)
    inner[0, :, 0, 0, 0] = float("inf")
    assert torch.isfinite(gpu.compose(*on(outer, inner))[0, :, 1:]).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_warp(generator, shape, weighted):
    image, weight = (torch.rand((1, 1, 6, 7, 5), generator=generator) for _ in range(2))
    field, matrix = vectors(generator, shape), torch.eye(3) + 0.1 * torch.randn((3, 3), generator=generator)
    offset = torch.tensor([2.7 if n == 1 else 0.3 for n in shape])  # a slice lies within the image
    pulled, u = on(image, field)
    given = on(weight)[0] if weighted else None
    found = gpu.warp(pulled, u, matrix, offset, True, given)
    expected = reference.warp(image, field, matrix, offset, True, weight if weighted else None)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, atol=1e-4)
    assert 0 < float(found[2].mean()) < 1
    value, nothing, inside = gpu.warp(pulled, u, matrix, offset, False, given)
    assert torch.equal(value, found[0])
    assert torch.equal(inside, found[2])
    assert nothing.numel() == 0


def test_warp_of_a_slice_ignores_the_missing_axis(generator):
    image, field = torch.rand((1, 1, 7, 1, 6), generator=generator), vectors(generator, (7, 1, 6), 1)
    found = gpu.warp(*on(image, field), torch.eye(3), torch.zeros(3), True)
    for one, other in zip(found, reference.warp(image, field, torch.eye(3), torch.zeros(3), True), strict=True):
        assert_same(one, other, atol=1e-4)
    assert not found[1][:, 1].any()


@pytest.mark.parametrize("radius", [1, 3, 9])
def test_box_sum(generator, shape, radius):
    data = torch.randn((1, 2, *shape), generator=generator)
    assert_same(gpu.box_sum(*on(data), radius), reference.box_sum(data, radius), atol=1e-4)


def test_convolve_separable(generator, shape):
    data = torch.randn((1, 2, *shape), generator=generator)
    kernels = [torch.tensor(k) for k in ([0.2, 0.6, 0.2], [0.1, 0.25, 0.4, 0.2, 0.05], [1.0])]
    for chosen in (kernels, kernels[::-1]):
        assert_same(gpu.convolve_separable(*on(data), tuple(chosen)), reference.convolve_separable(data, tuple(chosen)))


def test_longest_vector(generator, shape):
    field = vectors(generator, shape)
    assert gpu.longest_vector(*on(field)) == pytest.approx(reference.longest_vector(field), rel=1e-6)


@pytest.mark.parametrize("radius", [2])
def test_local_correlation(generator, shape, radius):
    moved, fixed, weight = (torch.rand((1, 1, *shape), generator=generator) for _ in range(3))
    term = similarities.LocalCorrelation.prepare(fixed, weight, Settings().changed(refine={"lncc_radius_vox": radius}).refine)
    total = float(weight.sum())
    parts = (moved, fixed, term.fixed_sum, term.fixed_variance, term.count, weight)
    value, gradient = gpu.lncc_value_and_gradient(*on(*parts), total, radius, 1e-4)
    expected, slope = reference.lncc_value_and_gradient(*parts, total, radius, 1e-4)
    assert value == pytest.approx(expected, rel=1e-5)
    assert_same(gradient, slope, atol=2e-5 * float(slope.abs().max()))
    again, same = gpu.lncc_value_and_gradient(*on(*parts), total, radius, 1e-4)
    assert again == value
    assert torch.equal(same, gradient)


@pytest.mark.parametrize("name", list(gpu_check.KERNELS))
def test_the_check_passes(name):
    assert max(gpu_check.deviations(name, DEVICE)) < 0.5 * gpu_check.TOLERANCE
    assert gpu_check.best(name, DEVICE) is gpu_check.KERNELS[name].compiled
    assert gpu_check.notices(DEVICE) == ()


def wrong(name, spoil):
    kernel = gpu_check.KERNELS[name]
    return gpu_check.Kernel(lambda *arguments: spoil(kernel.twin(*arguments)), kernel.twin, kernel.samples)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda sums: sums * 1.001, "deviated by 1.0e-03"),
        (lambda sums: sums * float("nan"), "deviated by inf"),
        (lambda sums: sums[..., 1:], "deviated by inf"),
        (lambda sums: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["off", "no number", "another shape", "an error"],
)
def test_a_wrong_kernel_is_refused_and_named_once(monkeypatch, spoil, why):
    monkeypatch.setattr("napari_deformreg.engine.sampling.on_cpu", lambda tensor: False)
    monkeypatch.setitem(gpu_check.KERNELS, "box_sum", wrong("box_sum", spoil))
    data = torch.rand((1, 1, 4, 5, 3), device=DEVICE)
    for _ in range(2):
        torch.testing.assert_close(box_sum(data, 1), reference.box_sum(data, 1))
    (notice,) = gpu_check.notices(DEVICE)
    assert notice.startswith("The compiled GPU kernel 'box_sum' did not pass its check (")
    assert notice.endswith("): plain torch is used.")
    assert why in notice


def test_without_triton_the_twins_are_used_and_nothing_is_said(monkeypatch):
    monkeypatch.setattr(gpu, "has_triton", lambda: False)
    for name, kernel in gpu_check.KERNELS.items():
        assert gpu_check.best(name, DEVICE) is kernel.twin
    assert gpu_check.notices(DEVICE) == ()


def test_a_refused_kernel_is_in_the_provenance(monkeypatch):
    device = "cpu" if DEVICE.type == "cpu" else "cuda:0"
    monkeypatch.setitem(gpu_check._refused, ("warp", device), "it deviated")
    pair = small_pair((16, 16, 16), seed=3)
    quick = Settings().changed(refine={"mode": "off"}, search={"mode": "off"}, device=DEVICE.type)
    notices = register(pair.fixed, pair.moving, quick).provenance.notices
    assert notices.count("The compiled GPU kernel 'warp' did not pass its check (it deviated): plain torch is used.") == 1


@pytest.mark.parametrize("lattice", [(5, 6, 4), (9, 1, 8)], ids=str)
def test_a_step_of_the_optimizer_is_the_same_by_both(generator, lattice, monkeypatch):
    """Loss and derivative of one level: by the compiled GPU kernels, and by those of the CPU."""
    if DEVICE.type == "cpu":
        for name, size in {"BLOCK": 64, "LINES": 32, "SEGMENT": 8}.items():
            monkeypatch.setattr(gpu, name, size)
    grid = Grid(lattice, np.diag([1.0, 1.2, 0.9, 1.0]))
    fixed, moving = (torch.rand((1, 1, *lattice), generator=generator) for _ in range(2))
    velocity = vectors(generator, lattice, 0.6)
    outcomes, used = [], set()

    def chosen(name, device):
        used.add(name)
        return gpu_check.KERNELS[name].compiled

    for device in (torch.device("cpu"), DEVICE):
        if outcomes:
            for module in ("sampling", "similarities"):
                monkeypatch.setattr(f"napari_deformreg.engine.{module}.on_cpu", lambda tensor: False)
                monkeypatch.setattr(f"napari_deformreg.engine.{module}.best", chosen)
        pair = LevelPair(Placed(fixed, grid).to(device), Placed(moving, grid).to(device), (0, 0, 0))
        level = optimize.LevelOptimizer(pair, velocity.to(device), Settings(), [])
        outcomes.append(level.evaluate(velocity.to(device)))
    assert used == {"compose", "warp", "box_sum", "lncc_value_and_gradient", "longest_vector"}
    (loss, slope), (by_compiled, compiled_slope) = outcomes
    assert by_compiled == pytest.approx(loss, rel=1e-4)
    torch.testing.assert_close(compiled_slope.cpu(), slope, atol=2e-4 * float(slope.abs().max()), rtol=1e-3)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles with the tools in Triton's wheel for x86-64")
def test_every_program_compiles_for_a_gpu(tmp_path):
    """Types that the interpreter lets pass would stop the compiler; it needs no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_gpu_programs.py")
    done = subprocess.run([sys.executable, str(script), "80"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {line[1] for line in lines} >= {"compose", "warp", "convolve_axis", "longest_squares", "box_lines", "lncc_derivative"}
    assert all(int(line[-1]) > 0 for line in lines)
