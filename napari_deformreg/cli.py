"""The command line: ``deformreg register | apply | apply-points | evaluate | view | demo | phantom | train | …``.

Thin: it parses words, shows progress and turns the user's mistakes into one line. The work is in `workflow`, imported only when a command
needs it, so that ``deformreg --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Generator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar, get_args

from . import __version__
from .errors import Cancelled, DeformregError, InputError, SettingsError
from .settings import BUNDLED_MODELS, PRESET_HELP, DeviceName, Settings

if TYPE_CHECKING:
    from .result import Control, Step
    from .workflow import InputPaths, Outcome

T = TypeVar("T")

USER_MISTAKE, INTERRUPTED = 2, 130
"""Exit codes: 2 as argparse's own, 130 as shells report an interrupt."""

_ROLES = ("landmarks", "labels", "mask")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        words = _parser().parse_args(argv)
        words.command(words)
    except Cancelled as error:
        print(f"deformreg: {error}", file=sys.stderr)
        return INTERRUPTED
    except DeformregError as error:
        print(f"deformreg: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("deformreg: cancelled; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is told."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="deformreg", description="Deformable registration of medical images, and the means to judge it.")
    parser.add_argument("--version", action="version", version=f"deformreg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_register(commands)
    _add_apply(commands)
    _add_apply_points(commands)
    _add_evaluate(commands)
    _add_view(commands)
    _add_demo(commands)
    _add_phantom(commands)
    _add_train_samples(commands)
    _add_train(commands)
    _add_export_model(commands)
    return parser


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
    _add_run_options(parser)
    parser.set_defaults(command=_register)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    helps = {
        "landmarks": "named points, CSV name,x,y,z in RAS mm; they judge the result, unless the settings give them a weight",
        "labels": "structures as whole numbers; they judge the result, unless the settings give them a weight",
        "mask": "where the image counts: voxels that are not 0",
    }
    for role in _ROLES:
        for side in ("fixed", "moving"):
            parser.add_argument(f"--{side}-{role}", metavar="FILE", help=f"{side}: {helps[role]}")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=get_args(DeviceName), help="where to compute; auto takes a CUDA GPU when there is one")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random; the same seed gives the same result")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_apply(commands: Any) -> None:
    text = "Resample IMAGE on the grid of another image. With fixed_to_moving.h5, moving images come to fixed space."
    parser = commands.add_parser("apply", help="resample an image through a transform", description=text)
    parser.add_argument("transform", metavar="TRANSFORM", help="from the new grid to the image: fixed_to_moving.h5 for moving images")
    parser.add_argument("image", metavar="IMAGE", help="what to resample; FILE@N is volume N (from 0) of a 4-D file")
    parser.add_argument("--like", metavar="FIXED", required=True, help="the image whose grid the output gets")
    parser.add_argument("--out", metavar="FILE", required=True, help="where to write; the suffix names the format")
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


def _add_train_samples(commands: Any) -> None:
    text = "Show what a network is trained on: a picture of synthetic pairs, their labels and their true motion."
    parser = commands.add_parser("train-samples", help="draw samples of the synthetic generator", description=text)
    parser.add_argument("config", metavar="CONFIG.json", nargs="?", help="training configuration or generator settings (default: defaults)")
    parser.add_argument("--out", metavar="FILE.png", required=True, help="picture to write")
    parser.add_argument("--labels", metavar="DIR", help="folder of label maps for pairs of anatomy")
    parser.add_argument("--size", metavar="N", type=int, nargs="+", help="voxels along each axis; two numbers show 2-D pairs")
    parser.add_argument("--count", metavar="N", type=int, default=6, help="how many pairs (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="the same seed shows the same pairs (default: %(default)s)")
    parser.add_argument("--held-out", action="store_true", help="show the label maps that are kept for validation")
    parser.set_defaults(command=_train_samples)


def _add_train(commands: Any) -> None:
    text = "Train a network on synthetic pairs or on your own images, as CONFIG.json says; DIR gets models, checkpoint and curves."
    parser = commands.add_parser("train", help="train a network", description=text)
    parser.add_argument("config", metavar="CONFIG.json", help="network, pairs, losses and phases")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to fill")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR, bit by bit as if there had been no pause")
    parser.add_argument("--labels", metavar="DIR", help="folder of label maps that synthetic anatomy is made from")
    parser.add_argument("--start", metavar="MODEL", help="begin with the weights of a model: its file, or a bundled one")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="share each step among N processes, one a GPU (default: 1)")
    parser.add_argument("--device", choices=get_args(DeviceName), default="auto", help="where to compute; auto takes a CUDA GPU if any")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(command=_train)


def _add_export_model(commands: Any) -> None:
    text = "Write MODEL as ONNX, for programs without torch: fixed and moving image in, velocity out. Needs the extra 'onnx'."
    parser = commands.add_parser("export-model", help="write a model as ONNX", description=text)
    parser.add_argument("model", metavar="MODEL", help="a bundled model, or a model file")
    parser.add_argument("--out", metavar="FILE.onnx", required=True, help="file to write")
    parser.add_argument("--size", metavar="N", type=int, nargs="+", help="voxels along each axis (default: as long as in training)")
    parser.set_defaults(command=_export_model)


def _register(words: argparse.Namespace) -> None:
    settings = _settings(words)
    from .workflow import InputPaths, run_files

    sides = {f"{side}_{role}": getattr(words, f"{side}_{role}") for side in ("fixed", "moving") for role in _ROLES}
    steps = run_files(InputPaths(words.fixed, words.moving, **sides), settings, words.out)
    _print_outcome(_watched(steps, words.quiet), words.out)


def _settings(words: argparse.Namespace) -> Settings:
    file = getattr(words, "settings", None)
    settings = Settings.from_preset(words.preset or "generic") if file is None else _settings_file(Path(file))
    given = {name: getattr(words, name) for name in ("device", "seed") if getattr(words, name) is not None}
    if getattr(words, "model", None) is not None:
        given["model"] = _model(words.model)
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
    from .workflow import apply_transform_file

    apply_transform_file(words.transform, words.image, words.like, words.out, labels=words.labels)


def _apply_points(words: argparse.Namespace) -> None:
    from .workflow import apply_points_file

    apply_points_file(words.transform, words.points, words.out, inverse=words.inverse)


def _evaluate(words: argparse.Namespace) -> None:
    from .workflow import evaluate_folder, results_csv, results_table

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
    return ["fixed", "moving", *(f"{side}_{role}" for side in ("fixed", "moving") for role in _ROLES)]


def _overridden(words: argparse.Namespace, folder: str) -> InputPaths:
    """Take what was named on the command line, and the rest from where the folder says it was."""
    from .workflow import InputPaths, noted_paths

    given = {name: getattr(words, name) for name in _override_names() if getattr(words, name) is not None}
    if {"fixed", "moving"} <= set(given):
        return InputPaths(**given)
    return InputPaths(**{**vars(noted_paths(folder)), **given})


def _view(words: argparse.Namespace) -> None:
    from .io import open_result_folder

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
    from .workflow import run_files, sample_pair, truth_error_text

    words.preset = _DEMO_PRESETS[words.sample]
    pair = sample_pair(words.sample)
    print(f"{pair.title}; preset {words.preset}")
    outcome = _watched(run_files(pair.paths, _settings(words), words.out), words.quiet)
    _print_outcome(outcome, words.out)
    print(truth_error_text(outcome, pair))
    if _has_display() and not words.no_view:
        _open_window(words.out)
    else:
        print(f"To look at it in napari: deformreg view {words.out}")


def _has_display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _phantom(words: argparse.Namespace) -> None:
    from .workflow import write_samples

    write_samples(words.out)
    print(f"Written to {words.out}")


def _train_samples(words: argparse.Namespace) -> None:
    from .training.synthesis import settings_for_sheet, write_sheet

    settings = settings_for_sheet(words.config, words.labels, words.size)
    print(f"Written to {write_sheet(words.out, settings, count=words.count, seed=words.seed, held_out=words.held_out)}")


def _train(words: argparse.Namespace) -> None:
    from .training import TrainingConfig, TrainingPlan, run_training

    labels = None if words.labels is None else Path(words.labels)
    config = TrainingConfig.from_file(words.config)
    plan = TrainingPlan(config, Path(words.out), words.resume, words.device, labels, words.start)
    run_training(plan, words.processes, words.quiet)


def _export_model(words: argparse.Namespace) -> None:
    from .workflow import export_model_file

    size = export_model_file(words.model, words.out, words.size)
    print(f"Written to {words.out}; it takes images of {' x '.join(map(str, size))} voxels.")


def _print_outcome(outcome: Outcome, folder: str) -> None:
    print(outcome.report.to_text())
    print(f"Written to {folder}; open {Path(folder) / 'report.html'} in a browser.")


def _watched(steps: Generator[Step, Control | None, T], quiet: bool) -> T:
    """Run steps to their end with a line of progress on stderr; an interrupt closes the generator, which writes nothing."""
    line = ProgressLine(sys.stderr, quiet)
    try:
        while True:
            line.show(next(steps))
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        line.end()
        steps.close()


class ProgressLine:
    """One line that is written over on a terminal; elsewhere (a log) one line a stage and level."""

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet
        self._terminal = stream.isatty()
        self._place: tuple[str, int] | None = None
        self._last, self._width = 0.0, 0

    def show(self, step: Step) -> None:
        """Show a step; on a terminal at most ten times a second."""
        moved_on = (step.stage, step.level) != self._place
        if self._quiet or not (moved_on or (self._terminal and time.monotonic() - self._last > 0.1)):
            return
        self._place, self._last = (step.stage, step.level), time.monotonic()
        text = step_text(step)
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line as it is and go to the next one."""
        if self._terminal and self._place is not None and not self._quiet:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()


def step_text(step: Step) -> str:
    """Write a step for people: how far, which stage, level, step, loss, time left."""
    parts = [f"{100 * step.fraction:3.0f} %", step.stage]
    if step.levels > 1:
        parts.append(f"level {step.level + 1}/{step.levels}")
    if step.count > 0:
        parts.append(f"step {step.index}/{step.count}")
    if step.loss is not None:
        parts.append(f"loss {step.loss:.4f}")
    if step.seconds_left is not None and step.seconds_left > 0:
        parts.append(f"{step.seconds_left:.0f} s left")
    if step.message and step.count == 0:
        parts.append(step.message)
    return "  ".join(parts)
