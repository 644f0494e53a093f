"""3D Slicer's markups files (.mrk.json): control points with labels, in LPS or RAS mm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileFormatError, InputError
from ..space import Landmarks
from ..space.orientation import lps_to_ras, ras_to_lps
from .paths import atomic_file, existing_file

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
)
_SYSTEMS = {"LPS": True, "RAS": False, "1": True, "0": False}


def read_markups(path: Path) -> Landmarks:
    """Read all placed control points of all lists in the file, RAS+ mm.

    Raises
    ------
    FileFormatError
        If it is no such file, or its coordinates are not mm in LPS or RAS.
    InputError
        If no point is placed, or two have one label.
    """
    path = existing_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileFormatError(f"{path} is no markups file of 3D Slicer: {error}. Save the points again as .mrk.json.") from error
    lists = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(lists, list):
        raise FileFormatError(f"{path} is no markups file of 3D Slicer: expected a list 'markups'. Save the points again as .mrk.json.")
    names: list[str] = []
    points: list[Any] = []
    for one in lists:
        for label, point in _placed(one, path):
            names.append(label)
            points.append(point)
    if not points:
        raise InputError(f"{path} holds no placed points; expected control points with a position.")
    return Landmarks(np.array(points), tuple(names))


def _placed(markups: Any, path: Path) -> list[tuple[str, np.ndarray]]:
    """Return the labels and RAS+ mm of one list's placed points."""
    if not isinstance(markups, dict):
        raise FileFormatError(f"{path}: expected objects in the list 'markups'; got {type(markups).__name__}.")
    system = str(markups.get("coordinateSystem", "LPS")).upper()
    if system not in _SYSTEMS:
        raise FileFormatError(f"{path}: the coordinate system is {system!r}; expected LPS or RAS.")
    units = markups.get("coordinateUnits", "mm")
    if units not in ("mm", ["[mm]", "", "mm", "millimeter"]) and "mm" not in str(units):
        raise FileFormatError(f"{path}: the coordinates are in {units!r}; expected mm.")
    found = []
    for number, point in enumerate(markups.get("controlPoints") or [], start=1):
        position = point.get("position") if isinstance(point, dict) else None
        if position is None or point.get("positionStatus", "defined") != "defined":
            continue
        try:
            place = np.array(position, dtype=np.float64).reshape(3)
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{path}, point {number}: expected three numbers of mm; got {position!r}.") from error
        found.append((str(point.get("label") or point.get("id") or number), lps_to_ras(place) if _SYSTEMS[system] else place))
    return found


def write_markups(path: Path, landmarks: Landmarks) -> None:
    """Write a list of fiducials in LPS mm, as 3D Slicer does itself."""
    places = ras_to_lps(landmarks.points)
    points = [
        {
            "id": str(number), "label": name, "description": "", "associatedNodeID": "", "position": [float(value) for value in place],
            "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0], "selected": True, "locked": False, "visibility": True,
            "positionStatus": "defined",
        }
        for number, (name, place) in enumerate(zip(landmarks.names, places, strict=True), start=1)
    ]
    markups = {
        "type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": False, "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d", "lastUsedControlPointNumber": len(points), "controlPoints": points,
    }
    with atomic_file(path) as partial:
        partial.write_text(json.dumps({"@schema": SCHEMA, "markups": [markups]}, indent=1), encoding="utf-8")
