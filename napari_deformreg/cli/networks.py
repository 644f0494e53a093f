"""The commands about networks: look at training samples, train, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from ..settings import DeviceName


def add_network_commands(commands: Any) -> None:
    """Add train-samples, train and export-model."""
    _add_train_samples(commands)
    _add_train(commands)
    _add_export_model(commands)


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


def _train_samples(words: argparse.Namespace) -> None:
    from ..training.synthesis import settings_for_sheet, write_sheet

    settings = settings_for_sheet(words.config, words.labels, words.size)
    print(f"Written to {write_sheet(words.out, settings, count=words.count, seed=words.seed, held_out=words.held_out)}")


def _train(words: argparse.Namespace) -> None:
    from ..training import TrainingConfig, TrainingPlan, run_training

    labels = None if words.labels is None else Path(words.labels)
    config = TrainingConfig.from_file(words.config)
    plan = TrainingPlan(config, Path(words.out), words.resume, words.device, labels, words.start)
    run_training(plan, words.processes, words.quiet)


def _export_model(words: argparse.Namespace) -> None:
    from ..workflow import export_model_file

    size = export_model_file(words.model, words.out, words.size)
    print(f"Written to {words.out}; it takes images of {' x '.join(map(str, size))} voxels.")
