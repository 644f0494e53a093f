"""The report as one page that opens anywhere, offline: inline style, embedded pictures, no scripts."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .figures import CONVENTION
from .landmarks import LandmarkErrors
from .metrics import METRICS
from .overlap import StructureOverlap
from .report import Report, Value, headline, number_text, statistic_text

REGIONS_SHOWN = 20

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1c2530; background: #f4f6f8; margin: 0; }
main { max-width: 1500px; margin: 0 auto; padding: 24px 28px 60px; background: #fff; }
h1 { font-size: 25px; margin: 0 0 2px; } h2 { font-size: 19px; margin: 34px 0 8px; border-bottom: 1px solid #d5dbe2; padding-bottom: 4px; }
.quiet { color: #5d6b7a; } .small { font-size: 13px; }
.status, .attention, .fine { border-left: 5px solid #1f5fa8; background: #eef4fb; padding: 9px 14px; margin: 12px 0; }
.attention { border-color: #c2410c; background: #fdf1ea; } .fine { border-color: #2e7d4f; background: #edf7f1; }
.attention ul { margin: 4px 0; padding-left: 20px; }
table { border-collapse: collapse; width: 100%; margin: 8px 0 4px; font-size: 14px; }
th { text-align: left; background: #eef1f5; font-weight: 600; }
th, td { padding: 4px 9px; border-bottom: 1px solid #e4e8ed; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.up { color: #20713f; font-weight: 600; } .down { color: #b3261e; font-weight: 600; }
img { max-width: 100%; display: block; margin: 8px 0; } .scroll { overflow-x: auto; }
details { margin: 10px 0; } summary { cursor: pointer; font-weight: 600; }
pre { background: #f4f6f8; padding: 10px; overflow-x: auto; font-size: 12px; }
footer { margin-top: 36px; padding-top: 10px; border-top: 2px solid #1c2530; font-weight: 600; }
@media print { body { background: #fff; } main { padding: 0; } table, img { break-inside: avoid; } }
"""

PICTURE_TITLES = (
    ("preview", "Before and after"),
    ("structures", "Structures (yellow: fixed outlines, blue: moved outlines)"),
    ("folds", "The worst fold in the foreground"),
    ("landmarks", "Landmark errors, before and after"),
    ("progress", "How the loss fell"),
)


def report_html(report: Report, pictures: Mapping[str, bytes] | None = None) -> str:
    """Write the page.

    Parameters
    ----------
    report : Report
        The numbers.
    pictures : mapping of str to bytes, optional
        PNG files by name, as `draw_pictures` gives them.
    """
    origin = report.provenance
    names = {entry["role"]: entry["name"] for entry in origin["inputs"]}
    title = f"{names['moving']} → {names['fixed']}"
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Registration report: {escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body><main>',
        "<h1>Registration report</h1>",
        f'<p class="quiet">Moving <b>{escape(names["moving"])}</b> onto fixed <b>{escape(names["fixed"])}</b>'
        f" · {escape(origin['created'].replace('T', ' '))}"
        f" · {escape(origin['software'])} {escape(origin['version'])} · {escape(origin['device'])}"
        f" · {number_text(origin['seconds_total'])} s<br>"
        f"{escape(origin['intended_use'])}</p>",
        f'<div class="status"><b>Outcome.</b> {escape(origin["status"]["advice"])}{_start(origin["start"])}</div>',
        _attention(report.attention),
        _headline(report),
        _pictures(pictures or {}),
        _landmarks(report.landmarks),
        _structures(report.structures),
        _folds(report),
        _provenance(origin),
        _definitions(report),
        f"<footer>{escape(origin['intended_use'])}</footer></main></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _start(start: Mapping[str, Any] | None) -> str:
    """Tell where the refinement started, where there was a choice."""
    if start is None:
        return ""
    return f'<br><span class="small">{escape(start["text"])}; the loss at a coarse level, lower is better.</span>'


def _attention(sentences: Sequence[str]) -> str:
    if not sentences:
        return '<div class="fine"><b>Nothing stands out in the numbers.</b> Look at the pictures all the same: numbers miss things.</div>'
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<div class="attention"><b>Look at these first</b><ul>{items}</ul></div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """Write a table of ready-made cells; columns from `numbers_from` on are set as numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        out = (f'<{tag}{" class=n" if n >= numbers_from else ""}>{cell}</{tag}>' for n, cell in enumerate(cells))
        return f"<tr>{''.join(out)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(head, "th")}</thead><tbody>\n{body}\n</tbody></table></div>'


def _change(before: float | None, after: float | None, better: str) -> str:
    """Say in a word and a color whether a number became better."""
    if before is None or after is None or better not in ("higher", "lower"):
        return ""
    if abs(after - before) < 1e-3 * max(abs(before), 1e-3):
        return "same"
    improved = (after > before) == (better == "higher")
    return '<span class="up">better</span>' if improved else '<span class="down">worse</span>'


def _headline(report: Report) -> str:
    rows = [
        (
            f'{escape(METRICS[value.metric].title)} <span class="quiet">{statistic_text(value.statistic)}</span>',
            number_text(value.before) if value.before is not None else "",
            f"<b>{number_text(value.value)}</b>",
            "" if value.unit == "1" else escape(value.unit),
            _change(value.before, value.value, value.better),
            escape(_aim(value)),
        )
        for value in headline(report)
    ]
    domain = escape(report.provenance["foreground"]["description"])
    note = f'<p class="small quiet">Before: as the headers place the images. Taken over: {domain}; more domains and definitions below.</p>'
    return "<h2>In short</h2>" + _table(("", "before", "after", "unit", "", "better when"), rows) + note


def _aim(value: Value) -> str:
    return {"-": "", "near 1": "near 1", "higher": "higher", "lower": "lower"}[value.better]


def _pictures(pictures: Mapping[str, bytes]) -> str:
    shown = [(title, pictures[name]) for name, title in PICTURE_TITLES if name in pictures]
    if not shown:
        return ""
    images = [
        f'<h3>{escape(title)}</h3><img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'
        for title, png in shown
    ]
    return f'<h2>Pictures</h2><p class="small quiet">{escape(CONVENTION)}</p>' + "\n".join(images)


def _landmarks(landmarks: LandmarkErrors | None) -> str:
    if landmarks is None or not len(landmarks):
        return ""
    rows = []
    for row in sorted(landmarks.rows(), key=lambda row: -row["tre_after_mm"]):
        axes = " / ".join(f"{row[f'difference_after_{axis}_mm']:+.2f}" for axis in "xyz")
        place = ", ".join(f"{row[f'fixed_{axis}']:.1f}" for axis in "xyz")
        remark = "outside the fixed image" if row["outside_field"] else _change(row["tre_before_mm"], row["tre_after_mm"], "lower")
        remark += " · drove the registration" if row["drove_registration"] else ""
        numbers = (number_text(row["tre_before_mm"]), f"<b>{number_text(row['tre_after_mm'])}</b>", axes, place)
        residual = row["inverse_residual_mm"]
        rows.append((escape(row["name"]), *numbers, "&lt; 0.001" if residual < 1e-3 else number_text(residual), remark))
    head = ("landmark", "TRE before (mm)", "TRE after (mm)", "R / A / S part (mm)", "fixed position (mm RAS)", "inverse residual (mm)", "")
    note = "<p><b>Landmarks that drove the registration do not judge it: their errors show the fit.</b></p>"
    drove = note if landmarks.drove.any() else ""
    return "<h2>Landmarks, worst first</h2>" + drove + _table(head, rows)


def _structures(structures: Sequence[StructureOverlap]) -> str:
    if not structures:
        return ""
    rows = []
    for s in sorted(structures, key=lambda s: (not s.in_both, 2.0 if s.dice_after is None else s.dice_after)):
        steps = (s.moving_volume_mm3, s.moved_volume_mm3, s.fixed_volume_mm3)
        volumes = " → ".join(number_text(None if mm3 is None else mm3 / 1000) for mm3 in steps)
        pairs = [
            (s.dice_before, s.dice_after),
            (s.hd95_before_mm, s.hd95_after_mm),
            (s.mean_surface_distance_before_mm, s.mean_surface_distance_after_mm),
        ]
        cells = [text for before, after in pairs for text in (number_text(before), f"<b>{number_text(after)}</b>")]
        remark = _change(s.dice_before, s.dice_after, "higher") if s.in_both else "in one image only"
        number = "" if s.name.endswith(str(s.label)) else f' <span class="quiet">{s.label}</span>'
        rows.append((escape(s.name) + number, *cells, volumes, remark))
    head = (
        "structure", "Dice before", "after", "HD95 before (mm)", "after", "mean distance before (mm)", "after",
        "moving → moved → fixed (ml)", "",
    )  # fmt: skip
    return "<h2>Structures, least overlap first</h2>" + _table(head, rows)


def _folds(report: Report) -> str:
    folds = report.folds
    rows = []
    for s in (folds.foreground, folds.whole_grid):
        shares = (number_text(s.digital_percent), number_text(s.ndv_percent), number_text(s.central_percent))
        determinants = (s.digital_minimum, s.jacobian_percentiles[1], s.jacobian_percentiles[50], s.jacobian_percentiles[99])
        rows.append((escape(s.domain), str(s.voxels), f"<b>{s.digital_count}</b>", *shares, *map(number_text, determinants)))
    head = (
        "domain", "voxels", "folded voxels", "folded %", "NDV %", "central %", "smallest determinant", "volume change 1 %", "50 %", "99 %",
    )  # fmt: skip
    out = "<h2>Folds and volume change</h2>" + _table(head, rows)
    factor = f"{folds.affine_determinant:.3f}"
    out += f'<p class="small quiet">Of the exported field at full resolution, without the affine (its volume factor: {factor}).</p>'
    if not folds.regions:
        return out + "<p>No voxel folds by the digital test.</p>"
    places = [
        (
            str(r.label), str(r.voxels), str(r.foreground_voxels), number_text(r.volume_mm3), number_text(r.smallest_determinant),
            ", ".join(f"{x:.1f}" for x in r.center_mm), escape(r.structure),
        )
        for r in folds.regions[:REGIONS_SHOWN]
    ]  # fmt: skip
    titles = ("region", "voxels", "in the foreground", "mm³", "smallest determinant", "worst voxel (mm RAS)", "structure")
    more = len(folds.regions) - len(places)
    rest = f'<p class="small quiet">and {more} more regions, all in folds.nii.gz.</p>' if more > 0 else ""
    return out + "<h3>Fold regions, worst first</h3>" + _table(titles, places) + rest


def _provenance(origin: Mapping[str, Any]) -> str:
    inputs = [
        (
            escape(entry["role"]), escape(entry["name"]), " × ".join(map(str, entry["shape"])),
            " × ".join(f"{s:.4g}" for s in entry["spacing_mm"]), escape(entry["orientation"]),
            " … ".join(number_text(v) for v in entry["intensity_range"]),
        )
        for entry in origin["inputs"]
    ]  # fmt: skip
    seconds = ", ".join(f"{escape(stage)} {number_text(s)}" for stage, s in origin["seconds"].items())
    libraries = ", ".join(f"{escape(name)} {escape(version)}" for name, version in origin["libraries"].items())
    notices = "".join(f"<li>{escape(notice)}</li>" for notice in origin["notices"])
    return (
        "<h2>Where this comes from</h2>"
        + _table(("image", "name", "voxels", "spacing (mm)", "axes", "intensities"), inputs, numbers_from=2)
        + (f"<p><b>Notices</b></p><ul>{notices}</ul>" if notices else "")
        + f"<p>Seconds: {seconds or '–'}. {f'Libraries: {libraries}.' if libraries else ''}</p>"
        + _how_made(origin)
    )


def _how_made(origin: Mapping[str, Any]) -> str:
    """Tell the settings of a registration of this program, or the files of another one."""
    if origin["origin"] is None:
        return f"<details><summary>Settings</summary><pre>{escape(json.dumps(origin['settings'], indent=2))}</pre></details>"
    elsewhere = origin["origin"]
    rows = [(escape(file["name"]), escape(file["convention"]), escape(file["sha256"][:12])) for file in elsewhere["files"]]
    who = f"<p>Transform made by {escape(elsewhere['made_by'])}; its inverse: {escape(elsewhere['inverse'])}.</p>"
    return who + _table(("transform file", "understood as", "sha256"), rows, numbers_from=3)


def _definitions(report: Report) -> str:
    rows = [
        (
            f"{escape(value.name)}", f"<b>{number_text(value.value)}</b>", "" if value.unit == "1" else escape(value.unit),
            number_text(value.before) if value.before is not None else "", str(value.n), escape(value.domain),
        )
        for value in report.values
    ]  # fmt: skip
    used = dict.fromkeys(value.metric for value in report.values)
    terms = "".join(
        f'<li><b>{escape(METRICS[name].title)}</b> ({name}, {METRICS[name].unit}): {escape(METRICS[name].definition)} '
        f'<span class="quiet">doi {escape(METRICS[name].doi)}</span></li>'
        for name in used
    )
    table = _table(("value", "after", "unit", "before", "n", "domain"), rows)
    listed = f"<details><summary>All numbers</summary>{table}</details>"
    return f'<h2>All numbers and their definitions</h2>{listed}<ul class="small">{terms}</ul>'
