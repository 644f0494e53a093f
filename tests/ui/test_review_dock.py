"""The Review dock in a real window, through its own widgets."""

import shutil

import numpy as np
import pytest
from cases import write_inputs
from napari.layers import Layer
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QLabel
from review_helpers import FOLD_VOXEL, planted_outcome

from napari_deformreg.io import write_image
from napari_deformreg.qa import SNAPSHOTS_AT_MOST, Verdict, build_review, worst_first
from napari_deformreg.ui import layers
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.comparison import Mode
from napari_deformreg.ui.pictures import picture_of_outcome
from napari_deformreg.ui.readers import read_layer
from napari_deformreg.ui.result_layers import result_layers
from napari_deformreg.ui.result_panel import ResultPanel
from napari_deformreg.ui.review.consistency_tab import MAP
from napari_deformreg.ui.review.contours import COLORS
from napari_deformreg.ui.review.places import PLACE
from napari_deformreg.ui.review_dock import ReviewDock
from napari_deformreg.workflow import read_review, write_outcome

pytestmark = pytest.mark.window


@pytest.fixture(scope="session")
def planted(outcome):
    return planted_outcome(outcome)


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy()


@pytest.fixture
def dock(viewer, qtbot, planted):
    """A panel that shows the result with the planted fold, and the Review dock beside it."""
    panel = ResultPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Result")
    picture = picture_of_outcome(planted)
    with qtbot.waitSignal(panel.shown, timeout=120_000):
        panel.show_outcome(planted, picture, result_layers(picture), None, None)
    dock = ReviewDock(viewer)
    viewer.window.add_dock_widget(dock, name="Review")
    qtbot.waitUntil(lambda: dock.desk.review is not None, timeout=60_000)
    yield dock
    dock.shut_down()
    panel.shut_down()


def slices(viewer):
    return tuple(viewer.dims.current_step)


def settle(dock, qtbot):
    qtbot.waitUntil(lambda: not dock.busy, timeout=60_000)


def voxels_shown(grid, point_mm):
    return tuple(np.round(layers.Placement(grid).to_layer_points(np.array([point_mm]))[0]).astype(int))


def test_folds_are_listed_worst_first_with_both_tests(dock, planted):
    rows = dock.folds.table.rows_model.rows
    regions = planted.folds.regions
    assert [row["label"] for row in rows] == [region.label for region in regions]
    assert rows[0]["smallest_determinant"] == regions[0].smallest_determinant
    counts = dock.folds.counts.rows_model
    texts = [[counts.data(counts.index(r, c)) for c in range(3)] for r in range(counts.rowCount())]
    assert texts[0][1].startswith(str(planted.folds.foreground.digital_count))
    assert texts[0][2].startswith(str(planted.folds.whole_grid.digital_count))
    assert texts[1][1].startswith(str(planted.folds.foreground.central_count))
    tip = counts.data(counts.index(0, 1), Qt.ItemDataRole.ToolTipRole)
    assert "ten finite-difference determinants" in tip
    assert planted.folds.foreground.domain in tip


def test_choosing_a_fold_goes_there_and_zooms(dock, viewer, planted, qtbot):
    region = planted.folds.regions[0]
    assert max(abs(np.array(region.center_voxel) - FOLD_VOXEL)) <= 1, "the planted fold is the worst"
    zoom = viewer.scene.camera.zoom
    table = dock.folds.table
    first = table.visualRect(table.model().index(0, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=first)
    settle(dock, qtbot)
    assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, region.center_mm)
    assert viewer.scene.camera.zoom > 1.5 * zoom
    ring = viewer.layers[PLACE]
    drawn = ring.data_to_world(ring.data[0])
    np.testing.assert_allclose(drawn[1:], viewer.scene.camera.center[1:], atol=1e-3)
    viewer.dims.set_current_step(0, 0)
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=first)
    settle(dock, qtbot)
    assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, region.center_mm), "the same row again goes there again"


def test_the_worst_fold_is_gone_to_again_and_from_the_verdict_as_from_its_table(dock, viewer, planted, qtbot):
    region = planted.folds.regions[0]
    dock.tabs.setCurrentWidget(dock.folds)
    dock.step(0)
    settle(dock, qtbot)
    ring_mm = float(viewer.layers[PLACE].scale[0])
    assert ring_mm > 2 * region.volume_mm3 ** (1 / 3), "the ring leaves the fold free"
    viewer.dims.set_current_step(0, 0)
    dock.step(0)
    settle(dock, qtbot)
    assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, region.center_mm)
    dock.points.table.choose(0)
    settle(dock, qtbot)
    dock.verdict.table.choose_value("figure", "fold_digital_fraction")
    settle(dock, qtbot)
    assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, region.center_mm)
    assert float(viewer.layers[PLACE].scale[0]) == ring_mm


def test_keys_walk_through_the_folds(dock, viewer, planted, qtbot):
    count = len(planted.folds.regions)
    qtbot.keyClick(dock.folds.table, Qt.Key.Key_PageDown)
    qtbot.keyClick(dock.folds.table, Qt.Key.Key_PageDown)
    assert dock.folds.table.currentIndex().row() == min(1, count - 1), "row by row"
    for _ in range(count + 1):
        qtbot.keyClick(dock.folds.table, Qt.Key.Key_PageDown)
    assert dock.folds.table.current()["label"] == planted.folds.regions[-1].label
    for _ in range(count + 1):
        qtbot.keyClick(dock.folds.table, Qt.Key.Key_PageUp)
    assert dock.folds.table.current()["label"] == planted.folds.regions[0].label
    qtbot.mouseClick(dock.folds.walk_buttons[2], Qt.MouseButton.LeftButton)
    assert dock.folds.table.currentIndex().row() == min(1, count - 1)


def test_home_goes_to_the_worst_however_a_table_is_sorted(dock, viewer, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.points)
    table = dock.points.table
    table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    qtbot.keyClick(table, Qt.Key.Key_Home)
    settle(dock, qtbot)
    assert table.current()["after_mm"] == max(planted.landmarks.after_mm)
    for page, place in (
        (dock.structures, None),
        (dock.consistency, planted.report.value("inverse_consistency_mm_max").place_mm),
        (dock.verdict, dock.verdict.table.rows_model.rows[0]["place_mm"]),
    ):
        dock.tabs.setCurrentWidget(page)
        dock.step(0)
        settle(dock, qtbot)
        if place is not None:
            assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, place)
    assert dock.structures.table.current() == dock.structures.table.rows_model.rows[0]
    assert dock.verdict.table.current()["grade"] == "red"


def test_the_field_is_walked_from_extreme_to_extreme(dock, viewer, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.consistency)
    for name in ("displacement_mm_max", "jacobian_determinant_min", "jacobian_determinant_max"):
        dock.step(1)
        settle(dock, qtbot)
        row = dock.consistency.extremes.current()
        assert row["figure"] == name
        place = planted.report.value(name).place_mm
        assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, place)
    determinant = planted.folds.determinant[tuple(np.round(planted.inputs.fixed.grid.world_to_voxel(np.array([place]))[0]).astype(int))]
    assert determinant == pytest.approx(planted.report.value("jacobian_determinant_max").value)


def test_tables_sort_by_value(dock, qtbot):
    dock.tabs.setCurrentWidget(dock.structures)
    table = dock.structures.table
    titles = [column.key for column in table.rows_model.columns]
    for order, sign in ((Qt.SortOrder.AscendingOrder, 1), (Qt.SortOrder.DescendingOrder, -1)):
        table.sortByColumn(titles.index("hd95_after_mm"), order)
        values = [table.row_at(n)["hd95_after_mm"] for n in range(len(table.rows_model.rows))]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=sign < 0)
        assert values == known + [None] * (len(values) - len(known))


def test_structures_say_what_the_report_says_and_are_outlined(dock, viewer, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.structures)
    rows = {row["name"]: row for row in dock.structures.table.rows_model.rows}
    for structure in planted.report.structures:
        assert rows[structure.name]["dice_after"] == structure.dice_after
        assert rows[structure.name]["fixed_ml"] == pytest.approx(structure.fixed_volume_mm3 / 1000)
    dock.structures.table.choose(2)
    settle(dock, qtbot)
    row = dock.structures.table.current()
    found = {parts.part_of(layer): layer for layer in viewer.layers}
    lines = found[parts.CONTOURS]
    for part, color in COLORS.items():
        assert_outlines(lines, color, np.asarray(found[part].data) == row["label"], viewer.dims.current_step[0])
    drawn = []
    lines.events.set_data.connect(lambda event: drawn.append(set(lines.data[:, 0, 0])))
    viewer.dims.set_current_step(0, viewer.dims.current_step[0] + 1)
    here = viewer.dims.current_step[0]
    qtbot.waitUntil(lambda: set(lines.data[:, 0, 0]) == {here}, timeout=60_000)
    qtbot.waitUntil(lambda: drawn[-1:] == [{here}], timeout=60_000)
    qtbot.mouseClick(dock.structures.only, Qt.MouseButton.LeftButton)
    settle(dock, qtbot)
    assert_outlines(lines, COLORS[parts.FIXED_LABELS], np.asarray(found[parts.FIXED_LABELS].data), here)
    qtbot.mouseClick(dock.structures.contours, Qt.MouseButton.LeftButton)
    assert lines not in viewer.layers


def lines_of(layer, color):
    """What the layer draws in this color."""
    return layer.data[np.isclose(layer.edge_color, transform_color(color), atol=1e-3).all(axis=1)]


def assert_outlines(layer, color, labels, index):
    """As long in all as the number of pixel sides where two values meet."""
    plane = np.pad(labels[index], 1)
    sides = sum(int((np.diff(plane.astype(int), axis=axis) != 0).sum()) for axis in (0, 1))
    found = lines_of(layer, color)
    assert sides
    assert np.abs(found[:, 1]).sum() == pytest.approx(sides)
    assert set(found[:, 0, 0]) == {index}


@pytest.fixture
def outlined(dock, viewer, qtbot):
    """All structures outlined: the layers by their parts."""
    dock.tabs.setCurrentWidget(dock.structures)
    dock.structures.table.choose(2)
    dock.structures.only.setChecked(False)
    settle(dock, qtbot)
    return {parts.part_of(layer): layer for layer in viewer.layers}


def test_contours_of_fixed_and_moved_have_colors_of_their_own_and_are_hidden_apart(dock, viewer, qtbot, outlined):
    layer, here = outlined[parts.CONTOURS], viewer.dims.current_step[0]
    labels = {part: np.asarray(outlined[part].data) for part in COLORS}
    fixed, moved = parts.FIXED_LABELS, parts.MOVED_LABELS
    dock.structures.sides[moved].click()
    settle(dock, qtbot)
    assert_outlines(layer, COLORS[fixed], labels[fixed], here)
    assert len(layer.data) == len(lines_of(layer, COLORS[fixed])), "the moved one's are hidden"
    dock.structures.sides[moved].set_color("#ff0000")
    dock.structures.sides[moved].click()
    dock.structures.sides[fixed].click()
    settle(dock, qtbot)
    assert_outlines(layer, "#ff0000", labels[moved], here)
    assert len(layer.data) == len(lines_of(layer, "#ff0000")), "the fixed one's are hidden"
    dock.structures.sides[fixed].click()
    settle(dock, qtbot)
    assert_outlines(layer, COLORS[fixed], labels[fixed], here)
    assert_outlines(layer, "#ff0000", labels[moved], here)


def test_side_by_side_each_image_has_its_own_contours(dock, viewer, qtbot, outlined):
    comparison = dock.desk.panel.compare.comparison
    comparison.set_mode(Mode.SIDE_BY_SIDE)
    qtbot.waitUntil(lambda: not comparison.busy and not dock.busy and not comparison.busy, timeout=60_000)
    here, layers_there = viewer.dims.current_step[0], {parts.part_of(layer): layer for layer in viewer.layers}
    for name, part in ((parts.CONTOURS, parts.FIXED_LABELS), (parts.MOVED_CONTOURS, parts.MOVED_LABELS)):
        layer = layers_there[name]
        assert_outlines(layer, COLORS[part], np.asarray(outlined[part].data), here)
        assert len(layer.data) == len(lines_of(layer, COLORS[part]))
    comparison.set_mode(Mode.SIDE_BY_SIDE)
    qtbot.waitUntil(lambda: not comparison.busy and not dock.busy and not comparison.busy, timeout=60_000)
    assert layers_there[parts.MOVED_CONTOURS] not in viewer.layers
    for part, color in COLORS.items():
        assert_outlines(layers_there[parts.CONTOURS], color, np.asarray(outlined[part].data), here)


def test_contours_are_drawn_once_for_a_step(dock, viewer, qtbot, outlined):
    layer, drawn = outlined[parts.CONTOURS], []
    here = viewer.dims.current_step[0]
    viewer.dims.set_current_step(0, here + 1)
    layer.events.set_data.connect(lambda event: drawn.append(set(layer.data[:, 0, 0])))
    viewer.dims.set_current_step(0, here + 2)
    assert drawn == [{here + 2}]
    viewer.dims.order = (1, 0, 2)
    assert len(drawn) == 2, "of another plane napari's own slice is drawn at once: the one before does not lie in it"
    settle(dock, qtbot)
    assert set(layer.data[:, 0, 1]) == {viewer.dims.current_step[1]}
    assert len(drawn) == 3


def test_a_folder_is_opened_for_review(viewer, planted, qtbot, tmp_path):
    paths = write_inputs(planted.inputs, tmp_path)
    write_outcome(planted, tmp_path / "case", paths)
    dock = ReviewDock(viewer)
    viewer.window.add_dock_widget(dock, name="Review")
    dock.open_result(tmp_path / "case")
    qtbot.waitUntil(lambda: dock.desk.review is not None, timeout=300_000)
    assert dock.desk.shown.folder == tmp_path / "case"
    assert dock.folds.table.rows_model.rowCount() == len(planted.folds.regions)
    dock.shut_down()


def test_closing_the_dock_leaves_nothing_behind(dock, viewer, qtbot):
    dock.folds.table.choose(0)
    settle(dock, qtbot)
    assert PLACE in viewer.layers
    names = {layer.name for layer in viewer.layers} - {PLACE}
    viewer.window.remove_dock_widget(dock)
    assert {layer.name for layer in viewer.layers} == names
    assert not dock._life.alive


def test_the_dock_closes_in_the_middle_of_a_move(dock, viewer, qtbot):
    names = {layer.name for layer in viewer.layers}
    dock.folds.table.choose(0)
    dock.structures.table.choose(1)
    viewer.window.remove_dock_widget(dock)
    qtbot.wait(300)
    assert {layer.name for layer in viewer.layers} == names


def test_layers_may_go_away(dock, viewer, qtbot):
    dock.folds.table.choose(0)
    viewer.layers.clear()
    dock.folds.table.choose(0)
    settle(dock, qtbot)
    dock.step(1)
    dock.structures.table.choose(1)
    settle(dock, qtbot)
    dock.structures.contours.setChecked(False)
    settle(dock, qtbot)


def test_landmarks_are_listed_plotted_and_gone_to(dock, viewer, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.points)
    table = dock.points.table
    worst = max(planted.landmarks.after_mm)
    assert table.rows_model.rows[0]["after_mm"] == worst
    assert all(row["role"] == "target" for row in table.rows_model.rows)
    assert f"largest {worst:.2f}" in dock.points.figures.text()
    assert "no landmark drove the registration" in dock.points.figures.text()
    name = table.rows_model.rows[3]["name"]
    qtbot.mouseClick(dock.points.plot, Qt.MouseButton.LeftButton, pos=dock.points.plot.place_of(name).toPoint())
    assert table.current()["name"] == name
    n = planted.landmarks.pairs.names.index(name)
    point = planted.landmarks.pairs.fixed_points[n]
    settle(dock, qtbot)
    assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, point)
    assert table.current()["anterior"] == planted.landmarks.after_axes_mm[n, 1]


def test_inverse_consistency_as_figures_and_as_a_map(dock, viewer, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.consistency)
    rows = {row["figure"]: row for row in dock.consistency.figures.rows_model.rows}
    assert rows["inverse_consistency_mm_p95"]["value"] == planted.report.value("inverse_consistency_mm_p95").value
    similar = {row["figure"]: row for row in dock.consistency.similarity.rows_model.rows}
    assert set(similar) == {"ncc", "lncc", "nmi"}
    assert all(row["grade"] == "info" for row in similar.values())
    qtbot.mouseClick(dock.consistency.map_switch, Qt.MouseButton.LeftButton)
    drawn = viewer.layers[MAP]
    expected = layers.Placement(planted.inputs.fixed.grid).to_layer_array(np.nan_to_num(planted.report.consistency.map_mm))
    np.testing.assert_array_equal(drawn.data, expected)
    qtbot.mouseClick(dock.consistency.map_switch, Qt.MouseButton.LeftButton)
    assert not drawn.visible


def test_figures_are_graded_and_tolerances_edited(dock, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.verdict)
    rows = {(row["figure"], row["structure"]): row for row in dock.verdict.table.rows_model.rows}
    assert rows["fold_digital_fraction", ""]["grade"] == "red"
    assert rows["tre_mm_mean", ""]["n"] == len(planted.landmarks)
    before = rows["tre_mm_mean", ""]["grade"]
    dock.verdict.table.choose_value("figure", "tre_mm_mean")
    mean = planted.report.value("tre_mm_mean").value
    editor = dock.verdict.editor
    assert editor.unit.currentText() == "largest voxel"
    editor.unit.setCurrentText("mm")
    editor.limit.setValue(mean / 3)
    editor.amber.setValue(mean / 2)
    qtbot.mouseClick(editor.apply_button, Qt.MouseButton.LeftButton)
    assert before == "green"
    assert {row["figure"]: row["grade"] for row in dock.verdict.table.rows_model.rows}["tre_mm_mean"] == "red"
    assert dock.points.table.rows_model.rows[0]["grade"] == "red"
    assert "changed" in dock.verdict.summary.text()
    assert "Research use only" in "".join(label.text() for label in dock.findChildren(QLabel))


def test_the_verdict_table_is_readable_at_the_usual_width(dock, planted, qtbot):
    dock.tabs.setCurrentWidget(dock.verdict)
    settle(dock, qtbot)
    table = dock.verdict.table
    rows, columns = table.rows_model.rows, table.rows_model.columns
    judged = [figure for figure in worst_first(dock.desk.review.figures) if figure.tolerance is not None]
    assert [row["grade"] for row in rows] == [figure.grade for figure in judged]
    assert [column.key for column in columns[:4]] == ["title", "value_text", "limits_text", "grade"]
    for place, column in enumerate(columns[1:3], start=1):
        texts = [column.text(row[column.key]) for row in rows if row[column.key] is not None]
        widest = max(table.fontMetrics().horizontalAdvance(text) for text in texts)
        assert table.columnWidth(place) > widest, f"{column.title} is cut"
    assert sum(table.columnWidth(n) for n in range(3)) < 400 - 35, "value and limits are seen beside the figure in a narrow dock"
    assert all(row["title"] in row["title_tip"] for row in rows)
    table.choose_value("figure", "inverse_consistency_mm_p95")
    source = dock.verdict.editor.message
    qtbot.waitUntil(lambda: source.height() >= source.heightForWidth(source.width()), timeout=20_000)
    assert "proves nothing" in source.text()


def test_structures_are_named_by_a_dropped_table(dock, viewer, planted, qtbot, tmp_path):
    row = dock.structures.table.rows_model.rows[0]
    table = tmp_path / "names.ctbl"
    table.write_text(f"{row['label']} Left_lung 1 2 3 255\n", encoding="utf-8")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(table))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    entered = QDragEnterEvent(QPoint(5, 5), Qt.DropAction.CopyAction, data, buttons, keys)
    dock.dragEnterEvent(entered)
    assert entered.isAccepted()
    dock.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, buttons, keys))
    assert {shown["name"] for shown in dock.structures.table.rows_model.rows if shown["label"] == row["label"]} == {"Left lung"}
    assert any(shown["title"] == "Left lung: Dice" for shown in dock.verdict.table.rows_model.rows)
    assert row["name"] not in {fold["structure"] for fold in dock.folds.table.rows_model.rows}
    assert dock.tabs.currentWidget() is dock.structures
    assert "names 1 of" in dock.structures.message.text()
    region = dock.desk.panel.controls.field.region
    assert "Left lung" in [region.itemText(n) for n in range(region.count())]
    assert row["name"] not in [region.itemText(n) for n in range(region.count())]
    features = viewer.layers[parts.FIXED_LABELS].features
    assert "Left lung" in set(features["name"])
    assert dock.keeper.dirty
    table.write_text("nothing\n", encoding="utf-8")
    dock.name_structures(table)
    assert "names no structure" in dock.structures.message.text()


def test_the_table_of_figures_keeps_its_place_however_much_there_is_to_look_at(dock, qtbot):
    tab = dock.verdict
    many = ("Voxels fold; see the worst.", "Landmarks lie apart.", "A structure changed its volume.")
    dock.desk.replace(dock.desk.review.model_copy(update={"attention": many}))
    assert many[0] in tab.summary.text()
    assert many[1] not in tab.summary.text()
    assert "2 more" in tab.summary.text()
    tab.summary.linkActivated.emit("more")
    assert all(sentence in tab.summary.text() for sentence in many)
    tab.summary.linkActivated.emit("more")
    assert many[1] not in tab.summary.text()
    assert tab.table.minimumHeight() >= 7 * tab.table.verticalHeader().defaultSectionSize()


def test_snapshots_have_captions_and_an_end(dock, qtbot):
    dock.tabs.setCurrentWidget(dock.verdict)
    pictures = dock.verdict.snapshots
    for _ in range(3):
        qtbot.mouseClick(pictures.take_button, Qt.MouseButton.LeftButton)
    pictures.list.item(1).setText("the fold")
    pictures.list.setCurrentRow(0)
    qtbot.mouseClick(pictures.remove_button, Qt.MouseButton.LeftButton)
    taken = pictures.snapshots()
    assert [snapshot.caption for snapshot in taken] == ["the fold", "Snapshot 3"]
    assert all(snapshot.png.startswith(b"\x89PNG") for snapshot in taken)
    pictures.set_snapshots([taken[0]] * SNAPSHOTS_AT_MOST)
    assert not pictures.take_button.isEnabled()


def test_a_fold_is_repaired_and_the_repair_taken_back(dock, viewer, planted, qtbot):
    layer = next(layer for layer in viewer.layers if parts.part_of(layer) == parts.FOLDS)
    names = [layer.name for layer in viewer.layers]
    before = np.asarray(layer.data).copy()
    count = len(planted.folds.regions)
    assert not dock.folds.repair.repair_button.isEnabled()
    dock.folds.table.choose(0)
    with qtbot.waitSignal(dock.folds.repair.repaired, timeout=300_000):
        qtbot.mouseClick(dock.folds.repair.repair_button, Qt.MouseButton.LeftButton)
    assert dock.folds.table.rows_model.rowCount() == count - 1
    assert "LNCC" in dock.folds.repair.message.text()
    qtbot.waitUntil(lambda: np.count_nonzero(layer.data) < np.count_nonzero(before), timeout=60_000)
    assert dock.keeper.dirty
    with qtbot.waitSignal(dock.folds.repair.repaired, timeout=300_000):
        qtbot.mouseClick(dock.folds.repair.undo_button, Qt.MouseButton.LeftButton)
    assert dock.folds.table.rows_model.rowCount() == count
    qtbot.waitUntil(lambda: np.array_equal(layer.data, before), timeout=60_000)
    assert not dock.folds.repair.undo_button.isEnabled()
    assert [layer.name for layer in viewer.layers if layer.name != PLACE] == names
    assert dock.desk.outcome is planted


def say(dock, verdict, reviewer="Ada", comment="The left one is off."):
    dock.tabs.setCurrentWidget(dock.verdict)
    dock.verdict.reviewer.setText(reviewer)
    dock.verdict.reviewer.textEdited.emit(reviewer)
    dock.verdict.verdict.setCurrentIndex(list(Verdict).index(verdict))
    dock.verdict.comment.setPlainText(comment)
    dock.verdict.snapshots.take()


def test_a_review_is_saved_and_opens_again_as_it_was(dock, viewer, planted, qtbot, tmp_path, make_napari_viewer_proxy):
    found = {parts.part_of(layer): layer for layer in viewer.layers}
    say(dock, Verdict.WITH_CARE)
    dock.folds.table.choose(0)
    settle(dock, qtbot)
    found[parts.JACOBIAN].visible = True
    found[parts.MOVED].opacity = 0.3
    viewer.dims.order = (1, 0, 2)
    viewer.add_points([[1.0, 2.0, 3.0]], name="my mark", units="mm", axis_labels=("z", "y", "x"))
    write_image(tmp_path / "other.nii.gz", planted.inputs.moving)
    other_image = viewer.add_layer(Layer.create(*read_layer(tmp_path / "other.nii.gz", "image")))
    other_image.opacity = 0.6
    bar = dock.desk.panel.compare
    bar.tile.setValue(7)
    bar.comparison.set_mode(Mode.FUSION)
    qtbot.waitUntil(lambda: not bar.comparison.busy, timeout=60_000)
    assert found[parts.MOVED].opacity == 1.0
    seen = (tuple(viewer.dims.order), slices(viewer), viewer.scene.camera.zoom, tuple(viewer.scene.camera.center)[1:])
    dock.verdict.reviewer.setText("")
    dock.keeper.save_to(tmp_path / "case")
    assert "Say who judges" in dock.verdict.message.text()
    dock.verdict.reviewer.setText("Ada")
    dock.keeper.save_to(tmp_path / "case")
    qtbot.waitUntil(lambda: "Saved in" in dock.verdict.message.text(), timeout=300_000)
    assert {"review.json", "review.html", "review.pdf"} <= {path.name for path in (tmp_path / "case").iterdir()}
    assert not dock.keeper.dirty

    other = make_napari_viewer_proxy()
    again = ReviewDock(other)
    other.window.add_dock_widget(again, name="Review")
    again.open_result(tmp_path / "case", write_inputs(planted.inputs, tmp_path / "files"))
    qtbot.waitUntil(lambda: again.desk.review is not None and not again.busy, timeout=300_000)
    assert again.verdict.reviewed() == dock.verdict.reviewed().with_session(again.desk.review.session).model_copy(
        update={"signed": again.verdict.reviewed().signed}
    )
    assert again.tabs.currentWidget() is again.verdict
    looks = {parts.part_of(layer): layer for layer in other.layers}
    assert looks[parts.JACOBIAN].visible
    assert "my mark" in other.layers
    assert other.layers[other_image.name].opacity == pytest.approx(0.6)
    comparison = again.own.compare.comparison
    assert (comparison.mode, comparison.tile_mm) == (Mode.FUSION, 7)
    assert looks[parts.MOVED].colormap.name == "magenta"
    camera = other.scene.camera
    assert (tuple(other.dims.order), slices(other)) == seen[:2]
    assert camera.zoom == pytest.approx(seen[2])
    assert tuple(camera.center)[1:] == pytest.approx(seen[3])
    assert not again.keeper.dirty
    comparison.set_mode(Mode.FUSION)
    qtbot.waitUntil(lambda: not comparison.busy, timeout=60_000)
    assert (looks[parts.MOVED].colormap.name, looks[parts.MOVED].opacity) == ("gray", pytest.approx(0.3)), "not as the mode had it"
    again.shut_down()


def test_a_folder_whose_images_are_gone_is_reviewed_by_its_report(planted, qtbot, tmp_path, make_napari_viewer_proxy):
    paths = write_inputs(planted.inputs, tmp_path / "files")
    write_outcome(planted, tmp_path / "case", paths)
    shutil.rmtree(tmp_path / "files")
    viewer = make_napari_viewer_proxy()
    dock = ReviewDock(viewer)
    viewer.window.add_dock_widget(dock, name="Review")
    dock.open_result(tmp_path / "case")
    qtbot.waitUntil(lambda: dock.desk.review is not None and not dock.busy, timeout=300_000)
    expected = build_review(planted.report, created=dock.desk.review.created)
    assert dock.desk.review.figures == expected.figures
    assert dock.desk.review.folds == expected.folds
    dock.tabs.setCurrentWidget(dock.folds)
    dock.step(0)
    settle(dock, qtbot)
    assert slices(viewer) == voxels_shown(planted.inputs.fixed.grid, planted.folds.regions[0].center_mm)
    dock.consistency.map_switch.setChecked(True)
    qtbot.waitUntil(lambda: "no file" in dock.consistency.text.text(), timeout=300_000)
    dock.verdict.reviewer.setText("Ada")
    dock.keeper.save_to(tmp_path / "case")
    qtbot.waitUntil(lambda: "Saved in" in dock.verdict.message.text(), timeout=300_000)
    assert read_review(tmp_path / "case").reviewer == "Ada"
    dock.shut_down()


def test_an_unsaved_review_is_offered_after_a_crash(dock, viewer, planted, qtbot, unsaved, make_napari_viewer_proxy):
    say(dock, Verdict.NOT_ACCEPTABLE)
    dock.keeper.autosave()
    qtbot.waitUntil(lambda: any(unsaved.glob("*.json")), timeout=300_000)
    other = make_napari_viewer_proxy()
    again = ReviewDock(other)
    assert again.keeper.left_behind() == [], "its window is still there"
    dock.keeper._file.leave()  # What the system does with a lock when its process dies.
    other.window.add_dock_widget(again, name="Review")
    qtbot.waitUntil(lambda: not again.recovery.isHidden(), timeout=60_000)
    qtbot.mouseClick(again.recovery.open_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: again.desk.review is not None and not again.busy, timeout=300_000)
    assert again.verdict.as_it_is().verdict is Verdict.NOT_ACCEPTABLE
    assert again.verdict.as_it_is().comment == "The left one is off."
    assert len(again.verdict.snapshots.snapshots()) == 1
    assert again.keeper.dirty
    assert again.keeper.folder is None, "the result itself was never saved either"
    again.shut_down()
    assert len(list(unsaved.glob("*.json"))) == 1, "still unsaved, so still kept"
    dock.keeper.dirty = False


def test_nothing_is_kept_of_a_review_without_a_word(dock, unsaved):
    dock.keeper.autosave()
    assert not unsaved.exists() or not any(unsaved.iterdir())
