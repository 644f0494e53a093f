"""What is shipped: the wheel's contents, its manifest, its dependencies, and that importing it stays light."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "napari_deformreg"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _run(*command: str | Path, **keywords: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **keywords)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would build it, from a copy, so that the checkout gets no build folder."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "*.nb[ic]"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel; on PYTHONPATH it goes before the checkout."""
    folder = tmp_path_factory.mktemp("site")
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel)
    return folder


def _in_fresh_process(site: Path, code: str) -> str:
    return _run(sys.executable, "-c", code, cwd=site.parent, env=os.environ | {"PYTHONPATH": str(site)})


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("napari_deformreg/")}
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".nbi", ".nbc"}
    }
    assert on_disk - in_wheel == set()
    assert {"napari_deformreg/napari.yaml", "napari_deformreg/py.typed"} <= in_wheel
    assert any(name.startswith("napari_deformreg/sample_data/") for name in in_wheel)


def test_wheel_is_small_and_carries_no_tests(wheel: Path) -> None:
    sizes = {folder: sum(path.stat().st_size for path in (PACKAGE / folder).iterdir()) for folder in ("sample_data", "weights")}
    assert sizes["sample_data"] < 5e6
    assert sizes["weights"] < 8e6
    assert wheel.stat().st_size < 14e6
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(("tests/", "benchmarks/", "tools/"))]


def test_installed_wheel_has_a_valid_manifest_whose_every_name_imports(site: Path) -> None:
    out = _in_fresh_process(
        site,
        "import napari_deformreg, npe2\n"
        "manifest = npe2.PluginManifest.from_distribution('napari-deformreg')\n"
        "manifest.validate_imports()\n"
        "print(napari_deformreg.__file__)\n"
        "print(len(manifest.contributions.commands))",
    )
    file, commands = out.split("\n")[-3:-1]
    assert Path(file).is_relative_to(site)
    assert int(commands) > 0


def test_installed_wheel_gives_its_sample_data(site: Path) -> None:
    out = _in_fresh_process(
        site,
        "import npe2\n"
        "manager = npe2.PluginManager.instance()\n"
        "manifest = npe2.PluginManifest.from_distribution('napari-deformreg')\n"
        "manager.register(manifest)\n"
        "for sample in manifest.contributions.sample_data:\n"
        "    layers = sample.open()\n"
        "    print(sample.key, ' '.join(layer[2] for layer in layers))",
    )
    lines = out.strip().splitlines()
    assert len(lines) >= 2
    assert all(line.split()[1:].count("image") >= 2 for line in lines), out


def test_installed_wheel_loads_its_models_and_has_their_cards(site: Path) -> None:
    out = _in_fresh_process(
        site,
        "from napari_deformreg.engine.models.weights import BUNDLED_FILES, WEIGHTS_FOLDER, bundled_model\n"
        "assert (WEIGHTS_FOLDER / 'README.md').is_file()\n"
        "for name, known in BUNDLED_FILES.items():\n"
        "    assert (WEIGHTS_FOLDER / known.file).with_suffix('.md').is_file()\n"
        "    print(bundled_model(name).sha256 == known.sha256)",
    )
    assert set(out.split()) <= {"True"}


def _imported_names() -> set[str]:
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    # triton comes with CUDA builds of torch; without it the GPU runs plain torch.
    return names - set(sys.stdlib_module_names) - {"napari_deformreg", "triton"}


def _declared() -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}


def test_dependencies_are_those_that_the_code_imports() -> None:
    homes = packages_distributions()
    imported = {canonicalize_name(homes[name][0]) for name in _imported_names()}
    assert imported == _declared()


def test_readme_says_why_each_dependency_is_there() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Dependencies", 1)[1].split("\n## ", 1)[0]
    rows = {canonicalize_name(name) for name in re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)}
    assert rows == _declared()


def test_constraints_pin_versions_that_the_project_accepts() -> None:
    pinned = {
        canonicalize_name(line.split("==")[0]): line.split("==")[1].strip()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    extras = PROJECT["optional-dependencies"]
    for line in PROJECT["dependencies"] + extras["all"] + extras["dev"]:
        wanted = Requirement(line)
        if wanted.name == "triton":  # which version, a CUDA build of torch says itself: another one here would forbid that build
            continue
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line
