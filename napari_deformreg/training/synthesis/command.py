"""What ``deformreg train-samples`` does: read what is drawn from, draw, and write the sheet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...errors import InputError, SettingsError
from ..sources import merged
from .settings import SynthesisSettings
from .sheet import draw_sheet
from .source import SyntheticPairs


def write_sheet(out: str | os.PathLike[str], settings: SynthesisSettings, *, count: int = 6, seed: int = 0, held_out: bool = False) -> Path:
    """Write a PNG that shows samples of the generator.

    Raises
    ------
    InputError
        If the file cannot be written, or is no PNG.
    """
    target = Path(out)
    if target.suffix.lower() != ".png":
        raise InputError(f"Expected a file name that ends in .png; got {target}.")
    if count < 1:
        raise InputError(f"Expected at least one sample; got {count}.")
    if not target.absolute().parent.is_dir():
        raise InputError(f"There is no folder {target.absolute().parent} to write {target.name} into. Make it first.")
    source = SyntheticPairs(settings, seed, held_out=held_out)
    sheet = draw_sheet([source.pair(index) for index in range(count)], [f"seed {seed}, {index}" for index in range(count)])
    try:
        target.write_bytes(sheet)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error}.") from error
    return target


def settings_for_sheet(config: str | os.PathLike[str] | None, labels: str | None, size: list[int] | None) -> SynthesisSettings:
    """Read what a sheet shows: a training configuration (its last phase), the generator's settings alone, or the defaults.

    Raises
    ------
    SettingsError
        If the file is not JSON, or its values are unknown or out of bounds.
    """
    given = {} if config is None else _generator_part(_read_json(Path(config)))
    if labels is not None:
        given = merged(given, {"anatomy": {"folder": labels}})
    if size is not None:
        given = {**given, "size": size}
    return SynthesisSettings.from_mapping(given)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"Cannot read {path}: {error}. Expected JSON: a training configuration or the generator's settings.") from error
    if not isinstance(given, dict):
        raise SettingsError(f"Expected a JSON object in {path}; got {type(given).__name__}.")
    return given


def _generator_part(given: dict[str, Any]) -> dict[str, Any]:
    data = given.get("data")
    if not isinstance(data, dict):
        return given
    if data.get("kind", "synthetic") != "synthetic":
        raise SettingsError("This configuration trains on acquired images; there are no synthetic samples to show.")
    last = given["phases"][-1] if given.get("phases") else {}
    shape = last.get("shape") or data.get("shape")
    settings = merged(data.get("generator", {}), last.get("generator", {}))
    return settings if shape is None else {**settings, "size": shape}
