"""The one place that orders read, check, register, apply, evaluate and write: for the window, the command line and scripts alike.

From two files to a judged result folder::

    for step in run_files(InputPaths("fixed.nii.gz", "moving.nii.gz"), Settings.from_preset("brain-mri"), "out"):
        print(step.stage, step.fraction)

or, with things already in memory, ``outcome = finished(run(Inputs(fixed, moving), Settings()))``.
"""

from .apply import apply_points_file, apply_transform_file, inverse_points_through
from .correction import corrected_outcome, correction_session, points_outcome
from .folder import evaluate_folder, evaluate_folder_steps, noted_paths, read_result, write_outcome
from .foreign import describe_transforms
from .inputs import InputPaths, Inputs, check_inputs, read_inputs
from .judged_run import Outcome, evaluate, finished, run, run_files
from .models import describe_model, export_model_file
from .repair import RepairedFold, repair_fold
from .review import (
    ForeignTransform,
    read_review,
    read_tolerances,
    review_folder_steps,
    review_outcome,
    review_transform_steps,
    save_review,
    write_tolerances,
)
from .review_writing import consistency_map
from .samples import SamplePair, sample_pair, truth_error_text, write_samples
from .tables import results_csv, results_table

__all__ = [
    "ForeignTransform", "InputPaths", "Inputs", "Outcome", "RepairedFold", "SamplePair", "apply_points_file", "apply_transform_file",
    "check_inputs", "consistency_map", "corrected_outcome", "correction_session", "describe_model", "describe_transforms", "evaluate",
    "evaluate_folder", "evaluate_folder_steps", "export_model_file", "finished", "inverse_points_through", "noted_paths",
    "points_outcome", "read_inputs", "read_result", "read_review", "read_tolerances", "repair_fold", "results_csv", "results_table",
    "review_folder_steps", "review_outcome", "review_transform_steps", "run", "run_files", "sample_pair", "save_review",
    "truth_error_text", "write_outcome", "write_samples", "write_tolerances",
]  # fmt: skip
