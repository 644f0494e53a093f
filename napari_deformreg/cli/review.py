"""The command that reviews: a result folder, or a transform that any tool made."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .progress import watched
from .registration import LABEL_NAMES_HELP

if TYPE_CHECKING:
    from ..qa import Review, Tolerances
    from ..workflow import InputPaths

_ROLES = ("landmarks", "labels", "mask")

_NEW = ("fixed", "moving", "transform", "out")
_ONLY_NEW = ("transform", "out", "inverse_transform", "driving_landmarks", "made_by")


def add_review_command(commands: Any) -> None:
    """Add review."""
    text = (
        "Judge a result folder DIR, or a transform that any tool made (--fixed, --moving, --transform, --out), against tolerances. "
        "The folder gets review.json, review.html and review.pdf."
    )
    parser = commands.add_parser("review", help="judge a result, or a transform of any tool, against tolerances", description=text)
    parser.add_argument("folder", metavar="DIR", nargs="?", help="result folder to review; its other files stay as they are")
    for side in ("fixed", "moving"):
        parser.add_argument(f"--{side}", metavar="FILE", help=f"the {side} image; FILE@N is volume N (from 0) of a 4-D file")
    _add_transform(parser)
    _add_judging(parser)
    _add_opinion(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(command=_review)


def _add_transform(parser: argparse.ArgumentParser) -> None:
    order = "in the order in which fixed points go through them, as antsApplyTransforms -t and greedy -r list them: warp, then affine"
    parser.add_argument("--transform", metavar="FILE", nargs="+", help=f"fixed to moving; several files {order}")
    inverse = "moving to fixed, in the order in which moving points go through them; [FILE,1]: an affine's inverse; computed when left out"
    parser.add_argument("--inverse-transform", metavar="FILE", nargs="+", help=inverse)
    parser.add_argument("--out", metavar="DIR", help="result folder to write; an older result there is replaced")
    conventions = "vectors of a displacement image: lps (ITK, ANTs, greedy), ras (3D Slicer), voxel (networks); auto: as the file says"
    parser.add_argument("--convention", choices=("auto", "lps", "ras", "voxel"), help=f"{conventions} (default: auto)")
    parser.add_argument("--made-by", metavar="TOOL", help="the tool that made it, for the record")


def _add_judging(parser: argparse.ArgumentParser) -> None:
    for role in _ROLES:
        for side in ("fixed", "moving"):
            parser.add_argument(f"--{side}-{role}", metavar="FILE", help=f"{role} of the {side} image, as for register; they only judge")
    parser.add_argument("--label-names", metavar="FILE", help=LABEL_NAMES_HELP)
    parser.add_argument("--driving-landmarks", metavar="FILE", help="fixed landmarks that drove the registration: no targets")
    parser.add_argument("--tolerances", metavar="FILE.json", help="judge by these instead of AAPM TG-132's Table III")
    parser.add_argument("--stereotactic", action="store_true", help="TG-132's tolerance for stereotactic use (1 mm at landmarks)")
    parser.add_argument("--write-tolerances", metavar="FILE.json", help="write the tolerances to a file that you can edit, and end")


def _add_opinion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reviewer", metavar="NAME", help="who judges")
    parser.add_argument("--verdict", metavar="0..4", choices=range(5), type=int, help=(
        "level of uncertainty: 0 whole image aligned, 1 region of interest aligned, 2 usable with care, 3 to look at only, 4 not acceptable"
    ))  # fmt: skip
    parser.add_argument("--comment", metavar="TEXT", help="what the reviewer has to say")


def _review(words: argparse.Namespace) -> None:
    from ..workflow import write_tolerances

    tolerances = _tolerances(words)
    if words.write_tolerances is not None:
        from ..qa import Tolerances

        write_tolerances(words.write_tolerances, tolerances or Tolerances.tg132())
        print(f"Written to {words.write_tolerances}")
        return
    folder, steps = _steps(words, tolerances)
    _, review = watched(steps, words.quiet)
    _print_review(review, Path(folder))


def _tolerances(words: argparse.Namespace) -> Tolerances | None:
    from ..qa import Tolerances
    from ..workflow import read_tolerances

    if words.tolerances is not None and words.stereotactic:
        raise InputError("Expected --tolerances or --stereotactic, got both; leave one out.")
    if words.tolerances is not None:
        return read_tolerances(words.tolerances)
    return Tolerances.tg132(stereotactic=True) if words.stereotactic else None


def _steps(words: argparse.Namespace, tolerances: Tolerances | None) -> tuple[str, Any]:
    from ..workflow import ForeignTransform, InputPaths, review_folder_steps, review_transform_steps

    sides = {f"{side}_{role}": getattr(words, f"{side}_{role}") for side in ("fixed", "moving") for role in _ROLES}
    sides["label_names"] = words.label_names
    if words.folder is not None:
        given = [name for name in _ONLY_NEW if getattr(words, name) is not None]
        if given or words.convention is not None:
            raise InputError(f"A result folder has its transform; --{(given or ['convention'])[0].replace('_', '-')} is for a new one.")
        return words.folder, review_folder_steps(words.folder, tolerances, _replaced_paths(words, sides), partial(_with_opinion, words))
    missing = [f"--{name}" for name in _NEW if getattr(words, name) is None]
    if missing:
        raise InputError(f"Expected a result folder, or --fixed, --moving, --transform and --out; {', '.join(missing)} is missing.")
    transform = ForeignTransform(
        tuple(words.transform), tuple(words.inverse_transform or ()), words.convention or "auto", words.made_by or "another tool",
        words.driving_landmarks,
    )  # fmt: skip
    amend = partial(_with_opinion, words)
    return words.out, review_transform_steps(InputPaths(words.fixed, words.moving, **sides), transform, words.out, tolerances, amend)


def _replaced_paths(words: argparse.Namespace, sides: dict[str, str | None]) -> InputPaths | None:
    """Take what was named on the command line, and the rest from where the folder says it was; None if nothing was named."""
    from ..workflow import InputPaths, noted_paths

    given = {name: path for name, path in (("fixed", words.fixed), ("moving", words.moving), *sides.items()) if path is not None}
    if not given:
        return None
    return InputPaths(**given) if {"fixed", "moving"} <= set(given) else InputPaths(**{**vars(noted_paths(words.folder)), **given})


def _with_opinion(words: argparse.Namespace, review: Review) -> Review:
    from ..qa import Verdict

    if words.reviewer is None and words.verdict is None and words.comment is None:
        return review
    verdict = review.verdict if words.verdict is None else list(Verdict)[words.verdict + 1]
    return review.with_opinion(reviewer=words.reviewer or review.reviewer, verdict=verdict, comment=words.comment or review.comment)


def _print_review(review: Review, folder: Path) -> None:
    from ..qa import review_text

    print(review_text(review))
    print(f"Written to {folder}; open {folder / 'review.html'} in a browser.")
