"""The commands that register, carry over, judge and show."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..errors import InputError, SettingsError
from ..settings import BUNDLED_MODELS, EFFORT_HELP, PRESET_HELP, AffineSettings, DeviceName, Settings
from .progress import watched

if TYPE_CHECKING:
    from ..workflow import InputPaths, Outcome

_ROLES = ("landmarks", "labels", "mask")

LABEL_NAMES_HELP = "names of the structures: a color table of FreeSurfer, 3D Slicer or ITK-SNAP, CSV or TSV with index and name, .seg.nrrd"


def add_registration_commands(commands: Any) -> None:
    """Add register, apply, apply-points, evaluate, view, demo and phantom."""
    _add_register(commands)
    _add_apply(commands)
    _add_apply_points(commands)
    _add_evaluate(commands)
    _add_view(commands)
    _add_demo(commands)
    _add_phantom(commands)


def _add_register(commands: Any) -> None:
    text = "Register MOVING to FIXED and write a result folder, whole or not at all."
    parser = commands.add_parser("register", help="register two images", description=text)
    parser.add_argument("fixed", metavar="FIXED", help="the image that stays; FILE@N is volume N (from 0) of a 4-D file")
    parser.add_argument("moving", metavar="MOVING", help="the image that is warped")
    parser.add_argument("--out", metavar="DIR", required=True, help="result folder; an older result there is replaced")
    _add_inputs(parser)
    which = parser.add_mutually_exclusive_group()
    presets = "; ".join(f"{name}: {text}" for name, text in PRESET_HELP.items())
    which.add_argument("--preset", choices=list(PRESET_HELP), help=f"starting point of all settings (default: generic). {presets}")
    which.add_argument("--settings", metavar="FILE.json", help="such as settings.json of an earlier run; the rest comes from its preset")
    models = "".join(f"; {name}: {text}" for name, text in BUNDLED_MODELS.items())
    parser.add_argument(
        "--model", metavar="MODEL", help=f"network that may give the start: auto (the preset's, if it has one), none, or a file{models}"
    )
    starts = get_args(AffineSettings.model_fields["start"].annotation)
    parser.add_argument("--start", choices=starts, help="where the alignment begins; landmarks: through the given pairs")
    parser.add_argument(
        "--hold-out", type=float, metavar="PART", help="part of the landmark pairs, 0 to 0.9, that never drives but judges"
    )
    _add_run_options(parser)
    parser.set_defaults(command=_register)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    helps = {
        "landmarks": "named points, CSV name,x,y,z in RAS mm; they judge the result, unless the settings give them a weight or --start",
        "labels": "structures as whole numbers; they judge the result, unless the settings give them a weight",
        "mask": "where the image counts: voxels that are not 0",
    }
    for role in _ROLES:
        for side in ("fixed", "moving"):
            parser.add_argument(f"--{side}-{role}", metavar="FILE", help=f"{side}: {helps[role]}")
    parser.add_argument("--label-names", metavar="FILE", help=LABEL_NAMES_HELP)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    efforts = "; ".join(f"{name}: {text}" for name, text in EFFORT_HELP.items())
    parser.add_argument("--effort", choices=list(EFFORT_HELP), help=f"how much time to take (default: default). {efforts}")
    parser.add_argument("--device", choices=get_args(DeviceName), help="where to compute; auto takes a CUDA GPU when there is one")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random; the same seed gives the same result")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_apply(commands: Any) -> None:
    text = "Resample IMAGE on the grid of another image. With fixed_to_moving.h5, moving images come to fixed space."
    parser = commands.add_parser("apply", help="resample an image through a transform", description=text)
    parser.add_argument("transform", metavar="TRANSFORM", help="from the new grid to the image: fixed_to_moving.h5 for moving images")
    parser.add_argument("image", metavar="IMAGE", help="what to resample; FILE@N is volume N (from 0) of a 4-D file")
    parser.add_argument("--like", metavar="FIXED", required=True, help="the image whose grid the output gets")
    formats = "the suffix names the format; .png or .tif keeps the colors of a picture"
    parser.add_argument("--out", metavar="FILE", required=True, help=f"where to write; {formats}")
    parser.add_argument("--labels", action="store_true", help="IMAGE holds whole numbers that must not be mixed")
    parser.set_defaults(command=_apply)


def _add_apply_points(commands: Any) -> None:
    text = "Carry points through a transform. Fixed points go through fixed_to_moving.h5; moving points through the same with --inverse."
    parser = commands.add_parser("apply-points", help="carry points through a transform", description=text)
    parser.add_argument("transform", metavar="TRANSFORM")
    parser.add_argument("points", metavar="POINTS.csv", help="name,x,y,z in RAS mm, or LPS if the header says so")
    parser.add_argument("--out", metavar="FILE", required=True, help="table to write, RAS mm")
    parser.add_argument("--inverse", action="store_true", help="solve for the inverse point by point; each residual is written beside it")
    parser.set_defaults(command=_apply_points)


def _add_evaluate(commands: Any) -> None:
    text = "Judge result folders again from their transforms and input files; the folders are not changed."
    parser = commands.add_parser("evaluate", help="judge result folders again", description=text)
    parser.add_argument("folders", metavar="DIR", nargs="+")
    for side in ("fixed", "moving"):
        parser.add_argument(f"--{side}", metavar="FILE", help=f"the {side} image, if it is no longer where it was")
    _add_inputs(parser)
    parser.add_argument("--csv", metavar="FILE", help="write every number of every folder to a table")
    parser.set_defaults(command=_evaluate)


def _add_view(commands: Any) -> None:
    parser = commands.add_parser("view", help="open napari on a result folder", description="Open napari on a result folder.")
    parser.add_argument("folder", metavar="DIR")
    parser.set_defaults(command=_view)


def _add_demo(commands: Any) -> None:
    text = "Register a sample pair, write the result folder, print the report, and open napari on it when there is a display."
    parser = commands.add_parser("demo", help="register a sample pair", description=text)
    parser.add_argument("--out", metavar="DIR", default="deformreg-demo", help="result folder (default: %(default)s)")
    parser.add_argument("--sample", choices=list(_DEMO_PRESETS), default="head", help="which pair (default: %(default)s)")
    parser.add_argument("--no-view", action="store_true", help="do not open napari")
    _add_run_options(parser)
    parser.set_defaults(command=_demo)


def _add_phantom(commands: Any) -> None:
    text = "Make the package's sample data again: synthetic pairs with landmarks, labels and the true transform both ways."
    parser = commands.add_parser("phantom", help="write the sample data", description=text)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to fill")
    parser.set_defaults(command=_phantom)


def _register(words: argparse.Namespace) -> None:
    settings = _settings(words)
    from ..workflow import InputPaths, run_files

    sides = {f"{side}_{role}": getattr(words, f"{side}_{role}") for side in ("fixed", "moving") for role in _ROLES}
    sides["label_names"] = words.label_names
    steps = run_files(InputPaths(words.fixed, words.moving, **sides), settings, words.out)
    _print_outcome(watched(steps, words.quiet), words.out)


def _settings(words: argparse.Namespace) -> Settings:
    file = getattr(words, "settings", None)
    settings = Settings.from_preset(words.preset or "generic") if file is None else _settings_file(Path(file))
    given = {name: getattr(words, name) for name in ("effort", "device", "seed") if getattr(words, name) is not None}
    if getattr(words, "model", None) is not None:
        given["model"] = _model(words.model)
    if getattr(words, "start", None) is not None:
        given["affine"] = {"start": words.start}
    if getattr(words, "hold_out", None) is not None:
        given["held_out"] = words.hold_out
    return settings.changed(**given) if given else settings


def _model(choice: str) -> str:
    """Make a file's path absolute, as the settings are kept with the result."""
    return choice if choice in ("auto", "none", *BUNDLED_MODELS) or not Path(choice).is_file() else str(Path(choice).absolute())


def _settings_file(path: Path) -> Settings:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read the settings {path}: {error}. Expected JSON, such as settings.json of a result.") from error
    return Settings.from_json(text)


def _apply(words: argparse.Namespace) -> None:
    from ..workflow import apply_transform_file

    apply_transform_file(words.transform, words.image, words.like, words.out, labels=words.labels)


def _apply_points(words: argparse.Namespace) -> None:
    from ..workflow import apply_points_file

    apply_points_file(words.transform, words.points, words.out, inverse=words.inverse)


def _evaluate(words: argparse.Namespace) -> None:
    from ..workflow import evaluate_folder, results_csv, results_table

    if len(words.folders) > 1 and any(getattr(words, name) is not None for name in _override_names()):
        raise InputError("Inputs can be named for one result folder at a time; got " + f"{len(words.folders)} folders.")
    reports = {}
    for folder in words.folders:
        report = evaluate_folder(folder, _overridden(words, folder)).report
        reports[str(folder)] = report
        print(f"{folder}\n{report.to_text()}\n")
    if len(reports) > 1:
        print(results_table(reports))
    if words.csv is not None:
        results_csv(reports, words.csv)


def _override_names() -> list[str]:
    return ["fixed", "moving", *(f"{side}_{role}" for side in ("fixed", "moving") for role in _ROLES), "label_names"]


def _overridden(words: argparse.Namespace, folder: str) -> InputPaths:
    """Take what was named on the command line, and the rest from where the folder says it was."""
    from ..workflow import InputPaths, noted_paths

    given = {name: getattr(words, name) for name in _override_names() if getattr(words, name) is not None}
    if {"fixed", "moving"} <= set(given):
        return InputPaths(**given)
    return InputPaths(**{**vars(noted_paths(folder)), **given})


def _view(words: argparse.Namespace) -> None:
    from ..io import open_result_folder

    open_result_folder(words.folder)
    _open_window(words.folder)


def _open_window(folder: str) -> None:
    # Looked up at run time: the window and the command line are siblings that must not import each other, and Qt may not be installed.
    try:
        app = import_module("napari_deformreg.ui.app")
    except ImportError as error:
        raise InputError(f"The window cannot be opened ({error}). Install Qt with `pip install 'napari-deformreg[all]'`.") from error
    app.view_result(folder)


_DEMO_PRESETS = {"head": "brain-mri", "head_t2": "multimodal", "slice": "slice-2d"}


def _demo(words: argparse.Namespace) -> None:
    from ..workflow import run_files, sample_pair, truth_error_text

    words.preset = _DEMO_PRESETS[words.sample]
    pair = sample_pair(words.sample)
    print(f"{pair.title}; preset {words.preset}")
    outcome = watched(run_files(pair.paths, _settings(words), words.out), words.quiet)
    _print_outcome(outcome, words.out)
    print(truth_error_text(outcome, pair))
    if _has_display() and not words.no_view:
        _open_window(words.out)
    else:
        print(f"To look at it in napari: deformreg view {words.out}")


def _has_display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _phantom(words: argparse.Namespace) -> None:
    from ..workflow import write_samples

    write_samples(words.out)
    print(f"Written to {words.out}")


def _print_outcome(outcome: Outcome, folder: str) -> None:
    print(outcome.report.to_text())
    print(f"Written to {folder}; open {Path(folder) / 'report.html'} in a browser.")
