"""The review as one page that opens anywhere, offline: inline style, embedded pictures, no scripts."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from html import escape

from .figures import CONVENTION
from .metrics import METRICS
from .report_html import PICTURE_TITLES, STYLE
from .review import RESEARCH_USE_ONLY, Review, Verdict
from .review_document import GRADE_COLORS, Section, opening, sections, title_of, verdict_lines
from .tolerances import Grade, metric_of

_STYLE = """
.grade { color: #fff; border-radius: 3px; padding: 1px 7px; white-space: nowrap; font-size: 12.5px; font-weight: 600; }
.research { background: #fff4d6; border: 1px solid #d9a400; padding: 6px 14px; font-weight: 600; }
.verdict { border: 2px solid #1c2530; padding: 10px 16px; margin: 14px 0; } .verdict p { margin: 4px 0; white-space: pre-wrap; }
figure { margin: 14px 0; break-inside: avoid; } figcaption { font-size: 13.5px; color: #37424e; }
.snapshots { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 14px; } td { overflow-wrap: break-word; }
td.number { white-space: nowrap; }
"""

_NUMBER = re.compile(r"[-+−–\d.e]+( mm| %)?")
"""What must not be broken into two lines: 511 over 0 reads as another number."""


def review_html(review: Review, pictures: Mapping[str, bytes] | None = None) -> str:
    """Write the page.

    Parameters
    ----------
    review : Review
        With the pictures of its snapshots.
    pictures : mapping of str to bytes, optional
        PNG files by name, as `draw_pictures` gives them.
    """
    title = title_of(review)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Review: {escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{_STYLE}</style></head><body><main>',
        f"<h1>Review of a registration</h1><p>{escape(title)}</p>",
        f'<p class="research">{escape(RESEARCH_USE_ONLY)}</p>',
        "".join(f'<p class="small quiet">{escape(line)}</p>' for line in opening(review)),
        _verdict(review),
        _attention(review),
        *(_section(part) for part in sections(review)[:1]),
        _snapshots(review),
        _pictures(pictures or {}),
        *(_section(part) for part in sections(review)[1:]),
        _definitions(review),
        f"<footer>{escape(RESEARCH_USE_ONLY)}</footer></main></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _verdict(review: Review) -> str:
    kind = "" if review.verdict is not Verdict.UNDECIDED else ' style="border-style: dashed"'
    return f'<div class="verdict"{kind}>{"".join(f"<p>{escape(line)}</p>" for line in verdict_lines(review))}</div>'


def _attention(review: Review) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in review.attention)
    return f'<div class="attention"><b>Look at these first</b><ul>{items}</ul></div>' if items else ""


def _section(section: Section) -> str:
    lines = "".join(f'<p class="small">{escape(line)}</p>' for line in section.sentences)
    if not section.head:
        return f"<h2>{escape(section.title)}</h2>{lines}"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in section.head)
    body = "\n".join(f"<tr>{''.join(_cells(row, section.graded))}</tr>" for row in section.rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return f'<h2>{escape(section.title)}</h2>{lines}<div class="scroll">{table}</div>'


def _cells(row: tuple[str, ...], graded: bool) -> Iterable[str]:
    for n, cell in enumerate(row):
        if graded and n == 0:
            yield f'<td><span class="grade" style="background: {GRADE_COLORS[Grade(cell)]}">{escape(cell)}</span></td>'
        else:
            kind = ' class="number"' if _NUMBER.fullmatch(cell) else ""
            yield f"<td{kind}>{escape(cell)}</td>"


def _embedded(png: bytes, words: str) -> str:
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'


def _snapshots(review: Review) -> str:
    shown = [
        f"<figure>{_embedded(snapshot.png, snapshot.caption)}<figcaption>{escape(snapshot.caption)}</figcaption></figure>"
        for snapshot in review.snapshots
        if snapshot.png
    ]
    return f'<h2>Snapshots</h2><div class="snapshots">{"".join(shown)}</div>' if shown else ""


def _pictures(pictures: Mapping[str, bytes]) -> str:
    shown = [f"<h3>{escape(title)}</h3>{_embedded(pictures[name], title)}" for name, title in PICTURE_TITLES if name in pictures]
    return f'<h2>Pictures</h2><p class="small quiet">{escape(CONVENTION)}</p>' + "\n".join(shown) if shown else ""


def _definitions(review: Review) -> str:
    used = dict.fromkeys(name for figure in review.figures if (name := metric_of(figure.figure)) is not None)
    terms = "".join(
        f"<li><b>{escape(METRICS[name].title)}</b> ({name}, {METRICS[name].unit}): {escape(METRICS[name].definition)} "
        f'<span class="quiet">doi {escape(METRICS[name].doi)}</span></li>'
        for name in used
    )
    return f'<h2>Definitions</h2><ul class="small">{terms}</ul>'
