"""Quality of a registration: space in, numbers and pictures out (no torch, no files).

The whole evaluation is three calls::

    report = build_report(
        fixed, moving, moved, moving_before, result,
        fixed_mask=None, fixed_labels=None, moving_labels=None, moved_labels=None, fixed_landmarks=None, moving_landmarks=None,
    )                                        # -> Report, without pictures
    pictures = draw_pictures(fixed, moved, moving_before, result, report, fixed_labels=None, moved_labels=None)
                                             # -> dict of name -> PNG bytes; "preview" is always there
    page = report_html(report, pictures)     # -> str, one self-contained page

``moved``, ``moving_before``, ``fixed_mask``, ``fixed_labels`` and ``moved_labels`` lie on the fixed grid; ``moving_labels`` on its own.

What a report holds: ``report.values`` (one `Value` a number), ``report.landmarks`` (`LandmarkErrors` or None, ``.rows()`` for a table),
``report.structures`` (tuple of `StructureOverlap`, ``structure_rows()`` for a table), ``report.structure_changes`` (volume
change and folds in each structure), ``report.consistency`` (with a map), ``report.folds`` (`FoldReport`: ``.foreground``,
``.whole_grid``, ``.regions`` worst first, ``.labels`` for folds.nii.gz, ``.fold_mask``), ``report.jacobian`` (Volume: local volume change
of fixed_to_moving, the affine included), ``report.attention`` (sentences: what to look at first), ``report.to_json()`` and
``report.to_text()`` (for a terminal). `METRICS` defines every number.

``review = build_review(report, tolerances)`` grades the numbers and lays out the tables of a `Review`; ``review.graded_by(other)`` judges
it by other tolerances, ``review.with_opinion(...)`` adds a verdict.
"""

from .consistency import Consistency
from .figures import draw_pictures
from .foreground import Foreground, fixed_foreground
from .grading import GradedFigure, counts, grade_of, graded, worst_first
from .jacobian import FoldRegion, FoldReport, FoldSummary, fold_report
from .landmarks import LandmarkErrors, landmark_errors
from .metrics import METRICS, Metric, metrics_markdown
from .overlap import StructureOverlap, structure_overlaps, structure_rows
from .pair_fits import PairFits, pair_fits
from .report import Report, Value, number_text
from .report_building import build_report, report_steps
from .report_html import report_html
from .review import RESEARCH_USE_ONLY, SNAPSHOTS_AT_MOST, ImageFacts, Review, Snapshot, Subject, Verdict
from .review_document import review_text
from .review_html import review_html
from .review_tables import ConsistencyRow, FoldCount, FoldRow, LandmarkRow, StructureRow
from .reviewing import build_review
from .tolerances import Grade, Tolerance, Tolerances
from .volume_change import StructureChange

__all__ = [
    "METRICS", "RESEARCH_USE_ONLY", "SNAPSHOTS_AT_MOST", "Consistency", "ConsistencyRow", "FoldCount", "FoldRegion", "FoldReport",
    "FoldRow", "FoldSummary", "Foreground", "Grade", "GradedFigure", "ImageFacts", "LandmarkErrors", "LandmarkRow", "Metric", "PairFits",
    "Report", "Review", "Snapshot", "StructureChange", "StructureOverlap", "StructureRow", "Subject", "Tolerance", "Tolerances", "Value",
    "Verdict", "build_report", "build_review", "counts", "draw_pictures", "fixed_foreground", "fold_report", "grade_of", "graded",
    "landmark_errors", "metrics_markdown", "number_text", "pair_fits", "report_html", "report_steps", "review_html", "review_text",
    "structure_overlaps", "structure_rows", "worst_first",
]  # fmt: skip
