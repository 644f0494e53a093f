"""A transform that any tool made, with its images: which files, how their numbers are meant, and what may judge it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from napari.layers import Image
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QDialog, QFormLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from ...errors import DeformregError
from ...io import Convention, split_volume_suffix
from ...result import Step
from ...workflow import ForeignTransform, InputPaths
from ..buttons import button
from ..input_rows import is_result
from ..layers import file_of
from ..process import in_process
from ..readers import LANDMARK_FILTER, VOLUME_FILTER
from ..scrolling import scrolled
from ..work import describing, reviewing_transform
from ..worker import Runner
from .file_rows import FileList, FileRow
from .structures_tab import NAMES_FILTER
from .tab import in_a_row, note

TRANSFORM_FILTER = "Transforms (*.h5 *.hdf5 *.tfm *.txt *.mat *.nii *.nii.gz *.mha *.mhd *.nrrd *.nhdr)"

TOOLS = ("another tool", "ANTs", "elastix", "greedy", "3D Slicer", "FreeSurfer", "VoxelMorph")

CONVENTIONS: dict[str, str] = {
    "auto": "as the file says",
    "lps": "LPS mm: ITK, ANTs, greedy, elastix",
    "ras": "RAS mm: 3D Slicer's NIfTI, FreeSurfer",
    "voxel": "voxels along the array axes: networks",
}

IMAGES = {"fixed": "Fixed image", "moving": "Moving image"}
JUDGES = {
    "fixed_labels": "Fixed labels", "moving_labels": "Moving labels", "fixed_landmarks": "Fixed landmarks",
    "moving_landmarks": "Moving landmarks", "fixed_mask": "Fixed mask", "moving_mask": "Moving mask", "label_names": "Names of labels",
}  # fmt: skip

ORDER_HELP = "Fixed to moving; fixed points go through the first file first, as antsApplyTransforms -t and greedy -r list them."
INVERSE_HELP = "The tool's own moving to fixed; moving points go through the first file first. Computed when left out."

ASK_MS = 300
"""After the last change, before the files are looked into."""


class ElsewhereDialog(QDialog):
    """Asks for everything that `deformreg review --fixed … --moving … --transform … --out …` is told, and does it."""

    reviewed = Signal(object)
    """The folder that was written."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Review a transform from elsewhere")
        self.resize(640, 720)
        self.files = {role: FileRow(title, VOLUME_FILTER) for role, title in IMAGES.items()}
        filters = {"landmarks": LANDMARK_FILTER, "label_names": NAMES_FILTER}
        for role, title in JUDGES.items():
            self.files[role] = FileRow(title, next((kind for word, kind in filters.items() if word in role), VOLUME_FILTER))
        self.transform = FileList("Transform, fixed to moving", TRANSFORM_FILTER)
        self.inverse = FileList("Inverse transform, moving to fixed", TRANSFORM_FILTER)
        self.driving = FileRow("Fixed landmarks that drove the registration", LANDMARK_FILTER)
        self.folder = FileRow("Folder of the review", "")
        self.convention = QComboBox()
        for name in get_args(Convention):
            self.convention.addItem(CONVENTIONS[name], name)
        self.made_by = QComboBox()
        self.made_by.setEditable(True)
        self.made_by.addItems(TOOLS)
        self.understood, self.message = note("No transform yet."), note()
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.review_button = button("Review", "Measure it, write the review's folder and open it.", self.review)
        self.cancel_button = button("Cancel", "Stop; nothing is written.", self.cancel)
        self.looker, self.runner = Runner(self), Runner(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(ASK_MS)
        self._lay_out()
        self._connect()
        self._idle()

    @property
    def busy(self) -> bool:
        """Whether files are looked into or a review is being made."""
        return self.runner.busy or self.looker.busy or self._timer.isActive()

    def suggest_images(self, viewer: Any) -> None:
        """Fill empty rows with the first images that the viewer shows and that came from files."""
        open_files = [file_of(layer) for layer in viewer.layers if isinstance(layer, Image) and not is_result(layer)]
        for role, path in zip(IMAGES, [path for path in open_files if path is not None], strict=False):
            if self.files[role].value() is None:
                self.files[role].setValue(path)

    def review(self) -> None:
        """Review what was chosen; what is missing is told in one line."""
        images = {role: self.files[role].value() for role in IMAGES}
        missing = [title for role, title in IMAGES.items() if images[role] is None]
        missing += [title for title, given in (("Transform", self.transform.value()), ("Folder", self.folder.value())) if not given]
        if missing:
            self.message.setText(f"Still missing: {', '.join(missing)}.")
            return
        paths = InputPaths(str(images["fixed"]), str(images["moving"]), **{role: self.files[role].value() for role in JUDGES})
        transform = ForeignTransform(
            self.transform.value(), self.inverse.value(), self._convention(), self.made_by.currentText().strip() or TOOLS[0],
            self.driving.value(),
        )  # fmt: skip
        folder = Path(str(self.folder.value()))
        self.review_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.runner.start(lambda: in_process(reviewing_transform, paths, transform, folder))

    def cancel(self) -> None:
        """Stop."""
        self.runner.drop()
        self.message.setText("Canceled. Nothing was written.")
        self._idle()

    def release(self) -> None:
        """Stop everything: the dock goes away."""
        self._timer.stop()
        self.looker.drop()
        self.runner.drop()
        self.close()

    # --- what happens -----------------------------------------------------------------------------------------------

    def _convention(self) -> Convention:
        found: Convention = self.convention.currentData()
        return found

    def _on_files(self) -> None:
        files = self.transform.value()
        if files and self.folder.value() is None:
            file = split_volume_suffix(files[0].strip("[]").removesuffix(",1"))[0]
            self.folder.setValue(file.with_name(f"{file.name.split('.')[0]}-review"))
        self._timer.start()

    def _look(self) -> None:
        """Say how the files are understood."""
        self.looker.drop()
        files, inverse, convention = self.transform.value(), self.inverse.value(), self._convention()
        if not files:
            self.understood.setText("No transform yet.")
            return
        self.understood.setText("Looking into the files …")
        self.looker.start(lambda: in_process(describing, files, inverse, convention))

    def _on_step(self, step: Step) -> None:
        self.message.setText(f"{step.message} …")
        self.progress.setValue(int(1000 * step.fraction))

    def _on_reviewed(self, folder: Path) -> None:
        self.message.setText(f"Written to {folder}.")
        self._idle()
        self.hide()
        self.reviewed.emit(folder)

    def _on_failed(self, error: DeformregError) -> None:
        self.message.setText(str(error))
        self._idle()

    def _idle(self) -> None:
        self.progress.setValue(0)
        self.review_button.setEnabled(True)
        self.cancel_button.setEnabled(False)

    def _connect(self) -> None:
        for part in (self.transform, self.inverse):
            part.changed.connect(self._on_files)
        self.convention.currentIndexChanged.connect(lambda index: self._timer.start())
        self._timer.timeout.connect(self._look)
        self.looker.succeeded.connect(lambda lines: self.understood.setText("<br>".join(lines)))
        self.looker.failed.connect(lambda error: self.understood.setText(str(error)))
        self.runner.stepped.connect(self._on_step)
        self.runner.succeeded.connect(self._on_reviewed)
        self.runner.failed.connect(self._on_failed)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for role, title in IMAGES.items():
            form.addRow(title, self.files[role])
        form.addRow("Transform", self.transform)
        form.addRow("", note(ORDER_HELP))
        form.addRow("Vectors are", self.convention)
        form.addRow("Taken for", self.understood)
        form.addRow("Inverse", self.inverse)
        form.addRow("", note(INVERSE_HELP))
        form.addRow("Made by", self.made_by)
        form.addRow(QLabel("<b>What may judge it</b> (each may be left out)"))
        for role, title in JUDGES.items():
            form.addRow(title, self.files[role])
        form.addRow("Driving landmarks", self.driving)
        form.addRow("Folder to write", self.folder)
        inside = QWidget()
        inside.setLayout(form)
        column = QVBoxLayout(self)
        column.addWidget(scrolled(inside), 1)
        column.addWidget(self.progress)
        column.addWidget(self.message)
        column.addLayout(in_a_row(self.review_button, self.cancel_button))
