"""The review as a PDF on A4, from the same sections as the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from .figures import CONVENTION
from .metrics import METRICS
from .report_html import PICTURE_TITLES
from .review import RESEARCH_USE_ONLY, Review
from .review_document import GRADE_COLORS, Section, opening, sections, title_of, verdict_lines
from .tolerances import Grade, metric_of

_PAGE = landscape(A4)
_MARGIN = 14 * mm
_WIDTH, _HEIGHT = _PAGE[0] - 2 * _MARGIN, _PAGE[1] - 2 * _MARGIN
_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"


@cache
def _fonts() -> None:
    """Register fonts with Greek, Cyrillic and arrows, which matplotlib ships and PDF's own lack."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (_FONT, _BOLD):
        registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)


def _style(size: float, color: str = "#1c2530", bold: bool = False, **more: Any) -> ParagraphStyle:
    return ParagraphStyle("text", fontName=_BOLD if bold else _FONT, fontSize=size, leading=size * 1.28, textColor=HexColor(color), **more)


def review_pdf(review: Review, pictures: Mapping[str, bytes] | None = None) -> bytes:
    """Write the PDF; parameters as for `review_html`."""
    _fonts()
    out = BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=_PAGE, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN, bottomMargin=_MARGIN,
        title=f"Review: {title_of(review)}", author=review.reviewer, subject=RESEARCH_USE_ONLY, creator=review.software,
    )  # fmt: skip
    tables = sections(review)
    story = [
        *_front(review),
        *_set(tables[0]),
        *_snapshots(review),
        *_pictures(pictures or {}),
        *(part for section in tables[1:] for part in _set(section)),
        *_definitions(review),
    ]
    document.build(story, onFirstPage=_footer, onLaterPages=_footer)
    return out.getvalue()


def _footer(canvas: Any, document: Any) -> None:
    canvas.saveState()
    canvas.setFont(_BOLD, 7)
    canvas.drawString(_MARGIN, 7 * mm, RESEARCH_USE_ONLY)
    canvas.drawRightString(_PAGE[0] - _MARGIN, 7 * mm, f"page {document.page}")
    canvas.restoreState()


def _text(words: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(words).replace("\n", "<br/>"), style)


def _front(review: Review) -> Iterable[Any]:
    yield _text("Review of a registration", _style(17, bold=True))
    yield _text(title_of(review), _style(11, spaceAfter=4))
    yield _text(RESEARCH_USE_ONLY, _style(9, bold=True, backColor=HexColor("#fff4d6"), borderPadding=3, spaceBefore=4, spaceAfter=7))
    for line in opening(review):
        yield _text(line, _style(8, "#37424e"))
    box = Table([[[_text(line, _style(10, bold=n == 0)) for n, line in enumerate(verdict_lines(review))]]], colWidths=[_WIDTH])
    box.setStyle(TableStyle([("BOX", (0, 0), (-1, -1), 1.4, HexColor("#1c2530")), ("TOPPADDING", (0, 0), (-1, -1), 6)]))
    yield Spacer(1, 7)
    yield box
    if review.attention:
        yield _heading("Look at these first")
        for sentence in review.attention:
            yield _text(f"• {sentence}", _style(8.5))


def _heading(words: str) -> Paragraph:
    return _text(words, _style(12.5, bold=True, spaceBefore=11, spaceAfter=4, keepWithNext=1))


def _set(section: Section) -> Iterable[Any]:
    yield _heading(section.title)
    for line in section.sentences:
        yield _text(line, _style(8, "#37424e", spaceAfter=2))
    if not section.head:
        return
    head = [_text(cell, _style(7.2, bold=True)) for cell in section.head]
    body = [[_cell(cell, n == 0 and section.graded) for n, cell in enumerate(row)] for row in section.rows]
    table = Table([head, *body], colWidths=[share * _WIDTH for share in section.widths], repeatRows=1)
    colors = [
        ("BACKGROUND", (0, n), (0, n), HexColor(GRADE_COLORS[Grade(row[0])])) for n, row in enumerate(section.rows, 1) if section.graded
    ]
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"), ("BACKGROUND", (0, 0), (-1, 0), HexColor("#eef1f5")),
                ("LINEBELOW", (0, 0), (-1, -1), 0.3, HexColor("#d5dbe2")), ("LEFTPADDING", (0, 0), (-1, -1), 3),
                ("RIGHTPADDING", (0, 0), (-1, -1), 3), ("TOPPADDING", (0, 0), (-1, -1), 1.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
                *colors,
            ]
        )
    )  # fmt: skip
    yield table


def _cell(words: str, is_grade: bool) -> Paragraph:
    return _text(words, _style(7.2, bold=True, splitLongWords=1).clone("grade", textColor=white) if is_grade else _style(7.2))


def _picture(png: bytes, width: float, height: float) -> Image:
    across, down = ImageReader(BytesIO(png)).getSize()
    scale = min(width / across, height / down)
    return Image(BytesIO(png), width=across * scale, height=down * scale)


def _snapshots(review: Review) -> Iterable[Any]:
    shown = [snapshot for snapshot in review.snapshots if snapshot.png]
    for n, snapshot in enumerate(shown):
        caption = _text(snapshot.caption, _style(8.5, "#37424e", spaceBefore=2, spaceAfter=8))
        first = [_heading("Snapshots")] if n == 0 else []
        yield KeepTogether([*first, _picture(snapshot.png, _WIDTH * 0.75, _HEIGHT * 0.7), caption])


def _pictures(pictures: Mapping[str, bytes]) -> Iterable[Any]:
    shown = [(title, pictures[name]) for name, title in PICTURE_TITLES if name in pictures]
    for n, (title, png) in enumerate(shown):
        note = [_text(CONVENTION, _style(7.5, "#5d6b7a"))] if n == 0 else []
        yield KeepTogether([_heading(title), *note, _picture(png, _WIDTH, _HEIGHT * 0.84)])


def _definitions(review: Review) -> Iterable[Any]:
    yield _heading("Definitions")
    for name in dict.fromkeys(metric_of(figure.figure) for figure in review.figures):
        if name is not None:
            metric = METRICS[name]
            yield _text(f"{metric.title} ({name}, {metric.unit}): {metric.definition} doi {metric.doi}", _style(7.2, spaceAfter=1.5))
