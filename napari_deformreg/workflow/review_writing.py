"""Writing a review's files into a folder that is being filled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io import ReviewFiles, write_image, write_review_files
from ..io import result_folder as names
from ..space import Volume
from .judged_run import Outcome

if TYPE_CHECKING:
    from ..qa import Review


def outcome_pictures(outcome: Outcome) -> dict[str, bytes]:
    """Draw all pictures of an outcome as PNG, by name."""
    from ..qa import draw_pictures

    inputs = outcome.inputs
    return draw_pictures(
        inputs.fixed,
        outcome.moved,
        outcome.moving_before,
        outcome.result,
        outcome.report,
        fixed_labels=inputs.fixed_labels,
        moved_labels=outcome.moved_labels,
    )


def write_review(folder: Path, review: Review, pictures: Mapping[str, bytes]) -> None:
    """Write a review as JSON, page, PDF and snapshots."""
    from ..qa import review_html
    from ..qa.review_pdf import review_pdf

    snapshots = tuple(snapshot.png for snapshot in review.snapshots)
    files = ReviewFiles(review.to_json(), review_html(review, pictures), review_pdf(review, pictures), snapshots)
    write_review_files(folder, files)


def consistency_map(outcome: Outcome) -> Volume:
    """Give the inverse consistency error in mm at every voxel; 0 where it is not known."""
    return Volume(np.nan_to_num(outcome.report.consistency.map_mm), outcome.inputs.fixed.grid, "inverse consistency (mm)")


def write_consistency(folder: Path, outcome: Outcome) -> None:
    """Write the map of the inverse consistency error."""
    write_image(folder / names.INVERSE_CONSISTENCY, consistency_map(outcome))
