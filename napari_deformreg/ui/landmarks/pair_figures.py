"""What the Landmarks dock says in figures: how well pairs are met, and what the last correction did."""

from __future__ import annotations

from ...qa import PairFits, pair_fits
from .pair_desk import PairDesk
from .pair_list import Use


def fits_now(desk: PairDesk) -> PairFits:
    """Measure all complete pairs against the registration as it is shown."""
    if desk.case.now is None:
        return PairFits({}, {})
    return pair_fits(desk.case.now.fixed_to_moving, desk.pairs.landmark_pairs(), desk.pairs.weights())


def held_out(desk: PairDesk) -> tuple[float, float, int] | None:
    """Return the mean error (mm) of the pairs that are held out, now and by the automatic result, and how many; None without any."""
    pairs = desk.pairs.landmark_pairs([pair for pair in desk.pairs.pairs if pair.use is Use.HELD_OUT])
    if not len(pairs) or desk.case.now is None or desk.case.automatic is None:
        return None
    now, before = (pair_fits(one.fixed_to_moving, pairs, {}).mean_mm(pairs.names) for one in (desk.case.now, desk.case.automatic))
    return (now or 0.0, before or 0.0, len(pairs))


def figures_text(desk: PairDesk) -> str:
    """Write in words what the last correction did, and how well landmarks are met that did not drive it."""
    said = []
    figures = desk.figures
    if figures is not None:
        said.append(
            f"Last correction: {figures.seconds:.2f} s, largest change {figures.largest_change_mm:.1f} mm, "
            f"folds {figures.folds_before} → {figures.folds_after}, "
            f"image match {figures.similarity_before:.4f} → {figures.similarity_after:.4f} (lower is better)."
        )
        said += figures.notices
    for title, found in (("Held-out pairs", held_out(desk)), ("The case's own landmarks", desk.case.target_errors())):
        if found is not None:
            now, before, count = found
            said.append(f"<b>{title}, n = {count}:</b> mean TRE {now:.2f} mm (automatic {before:.2f} mm).")
    if desk.corrector.busy:
        said.append(f"Correcting … ({desk.corrector.waiting} to go)" if desk.corrector.ready else "Preparing the correction …")
    return "<br>".join(said)
