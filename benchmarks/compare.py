#!/usr/bin/env python3
"""Our registration and the peers side by side on case folders, scored by a referee from outside: JSON, Markdown and a picture.

    compare.py --referee REFEREE.py --out FOLDER [--repeats 3] [--threads 2] [--tools ...] [--peers-python PYTHON] CASE_DIR ...

Every registration is a process of its own (tools.py), one at a time. The repeats are interleaved: all cases and tools once, then all again,
in another order of the tools, so that a noisy minute is not one tool's alone. Seconds are medians over the repeats: from the files on disk
to the transform. Peak memory is that of the process and its children, everything included. Accuracy and folds are scored on the first
repeat (a score takes longer than a fast registration). Ours runs at all three efforts; peers not installed are left out with a line:

    python -m venv peers; peers/bin/pip install -r benchmarks/peers.txt      # and perhaps: apt-get install elastix
    make bench REFEREE=referee.py PEERS_PYTHON=peers/bin/python CASES="case_dir ..."

FOLDER gets results.json, results.md and stages.md (where our seconds go), written anew after every registration, and results.png.
Runs that it holds already are kept, and these repeats are added to them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run_cases import case_parser, load_referee, preset_of

OURS = {"ours fast": "fast", "ours": "default", "ours best": "best"}
PEERS = ("greedy", "syn", "elastix", "fireants")
SCRIPT = Path(__file__).with_name("tools.py")

ACCURACY = (
    ("dice_mean", "Dice", 1.0), ("tre_mm_liver", "TRE mm (liver)", -1.0), ("tre_mm_mean", "TRE mm", -1.0), ("tre_px_mean", "TRE px", -1.0),
)  # fmt: skip
"""What judges a case: the first of these that the referee gives; heading; whether more is better."""


@dataclass(frozen=True)
class Plan:
    """What is run how."""

    cases: tuple[Path, ...]
    tools: tuple[str, ...]
    repeats: int
    threads: int
    device: str
    masks: bool
    limit_s: float
    peers_python: str
    out: Path
    memory_limit_gib: float = 20.0

    def command(self, case: Path, tool: str, folder: Path) -> list[str]:
        """Return the command of one registration."""
        python = sys.executable if tool in OURS else self.peers_python
        name = "ours" if tool in OURS else tool
        command = [python, str(SCRIPT), "--tool", name, "--case", str(case), "--out", str(folder), "--threads", str(self.threads)]
        command += ["--preset", preset_of(case), "--effort", OURS.get(tool, "default"), "--device", self.device]
        return command + (["--masks"] if self.masks else [])

    @property
    def environment(self) -> dict[str, str]:
        """Threads for everything that asks the environment."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        return {**os.environ, **dict.fromkeys(names, str(self.threads))}


def run(plan: Plan, case: Path, tool: str, folder: Path) -> dict[str, Any]:
    """Run one registration: seconds, peak memory, processor seconds, or why it failed."""
    with (folder / "log.txt").open("wb") as log:
        began = time.monotonic()
        command = plan.command(case, tool, folder)
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=plan.environment, start_new_session=True)
        status, used, stopped = waited(child, plan.limit_s, plan.memory_limit_gib)
        wall = time.monotonic() - began
    row = {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss / 2**20}
    note = folder / "run.json"
    if stopped:
        return {**row, "failed": stopped}
    if status or not note.exists():
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {**row, "failed": lines[-1][-300:] if lines else f"ended with {status}"}
    return {**row, **json.loads(note.read_text(encoding="utf-8"))}


def waited(child: subprocess.Popen[bytes], limit_s: float, limit_gib: float) -> tuple[int, Any, str]:
    """Wait for a process and take what it and its children used; one that runs or grows past the limits is ended, and that is said."""
    end, stopped = time.monotonic() + limit_s, ""
    while True:
        pid, status, used = os.wait4(child.pid, 0 if stopped else os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, used, stopped
        if time.monotonic() > end:
            stopped = f"ended after {limit_s:g} s"
        elif resident_gib(child.pid) > limit_gib:
            stopped = f"ended at {limit_gib:g} GiB"
        if stopped:
            os.killpg(child.pid, signal.SIGKILL)  # with what it started itself
        else:
            time.sleep(0.02)


def resident_gib(pid: int) -> float:
    """Return the memory that a process holds; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def availability(plan: Plan) -> tuple[Plan, dict[str, str], dict[str, str]]:
    """Leave out the peers that cannot run; returns why, and the versions of what can."""
    asked = [tool for tool in plan.tools if tool not in OURS]
    versions, why = {}, {}
    for python, tools in ((plan.peers_python, asked), (sys.executable, ["ours"])):
        done = subprocess.run([python, str(SCRIPT), "--missing", *tools], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{python} cannot run {SCRIPT.name}: {done.stderr.strip()[-300:]}")
        answer = json.loads(done.stdout)
        versions |= answer["versions"]
        why |= {tool: reason for tool, reason in answer["missing"].items() if reason}
    kept = tuple(tool for tool in plan.tools if tool not in why)
    return Plan(**{**vars(plan), "tools": kept}), why, versions


def elsewhere(function: Callable[..., Any], *given: Any) -> Any:
    """Call a function in a new process: a process's peak memory counts from that of the one which starts it, so this one stays small."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def scored(referee: Path, case: Path, transform: str) -> dict[str, Any]:
    """Ask the referee."""
    return load_referee(referee)(str(case), transform)


def compare(plan: Plan, referee: Path, record: dict[str, Any]) -> None:
    """Run everything and keep what was found after every registration."""
    rows: dict[str, dict[str, Any]] = record["rows"]
    for repeat in range(plan.repeats):
        turned = plan.tools[repeat % len(plan.tools) :] + plan.tools[: repeat % len(plan.tools)]
        for case in plan.cases:
            if "before" not in rows.setdefault(case.name, {}):
                rows[case.name]["before"] = elsewhere(scored, referee, case, "identity")
            for tool in turned:
                found = rows[case.name].setdefault(tool, {"runs": []})
                if any("failed" in run for run in found["runs"]):
                    continue
                with tempfile.TemporaryDirectory() as place:
                    found["runs"].append(run(plan, case, tool, Path(place)))
                    last = found["runs"][-1]
                    if "failed" not in last and "score" not in found:
                        found["score"] = elsewhere(scored, referee, case, str(Path(place) / last["transform"]))
                print(f"{repeat + 1}/{plan.repeats} {case.name:20s} {tool:10s} {line_of(found)}", flush=True)
                write(plan, record)
        elsewhere(draw, plan.out / "results.png", record)


def line_of(found: dict[str, Any]) -> str:
    """Say in a line what a tool came to on a case."""
    last = found["runs"][-1]
    if "failed" in last:
        return f"failed: {last['failed']}"
    key, title, _ = judge(found["score"])
    folds = found["score"]["fold_digital_pct"]
    return f"{last['seconds']:6.1f} s  {last['peak_gib']:.2f} GiB  {title} {found['score'][key]:.4g}  folds {folds:.3g} %"


def judge(score: dict[str, Any]) -> tuple[str, str, float]:
    """Return the measure of a case."""
    return next((row for row in ACCURACY if row[0] in score), ("sd_log_jacobian", "SD log J (no truth)", -1.0))


def median(found: dict[str, Any], key: str) -> float:
    """Return the median over the repeats."""
    return statistics.median(run[key] for run in found["runs"] if "failed" not in run)


def good(found: Any) -> bool:
    """Tell whether there is a result."""
    return isinstance(found, dict) and "score" in found and any("failed" not in run for run in found.get("runs", ()))


# --- what is written ----------------------------------------------------------------------------------------------------------------------


def write(plan: Plan, record: dict[str, Any]) -> None:
    """Write JSON and tables."""
    plan.out.mkdir(parents=True, exist_ok=True)
    (plan.out / "results.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    (plan.out / "results.md").write_text(markdown(record), encoding="utf-8")
    (plan.out / "stages.md").write_text(stages_table(record), encoding="utf-8")


def markdown(record: dict[str, Any]) -> str:
    """Return one table of accuracy, folds, seconds and memory."""
    tools = held(record)
    lines = [record["how"], "", "| case | measure | before | " + " | ".join(tools) + " |", "|" + "---|" * (3 + len(tools))]
    for case, row in record["rows"].items():
        key, title, _ = judge(row["before"])
        cells = [case, title, f"{row['before'][key]:.3f}"]
        lines.append("| " + " | ".join([*cells, *(cell(row.get(tool), key) for tool in tools)]) + " |")
    return "\n".join([*lines, "", *against_greedy(record), ""])


def held(record: dict[str, Any]) -> list[str]:
    """Return the tools of which there are runs, those of earlier times included."""
    return [tool for tool in (*OURS, *PEERS) if any(tool in row for row in record["rows"].values())]


def cell(found: Any, key: str) -> str:
    """Return accuracy, seconds, memory, and folds where there are any."""
    if not good(found):
        return "" if not found else "failed"
    score = found["score"]
    folds = f", folds {score['fold_digital_pct']:.2g} %" if score["fold_digital_pct"] > 0 else ""
    return f"{score[key]:.3f}, {median(found, 'seconds'):.1f} s, {median(found, 'peak_gib'):.1f} GiB{folds}"


def against_greedy(record: dict[str, Any]) -> list[str]:
    """Say how our seconds compare with greedy's, case by case."""
    lines = []
    for case, row in record["rows"].items():
        if good(row.get("greedy")):
            base = median(row["greedy"], "seconds")
            parts = [f"{tool} {median(row[tool], 'seconds') / base:.2f}" for tool in OURS if good(row.get(tool))]
            lines.append(f"{case}, seconds as a part of greedy's: {', '.join(parts)}.  ")
    return lines


def stages_table(record: dict[str, Any]) -> str:
    """Return where our seconds go, medians over the repeats."""
    table: dict[tuple[str, str], dict[str, list[float]]] = {}
    for case, row in record["rows"].items():
        for tool in OURS:
            for run in row.get(tool, {}).get("runs", ()):
                for stage, seconds in run.get("stages", {}).items():
                    table.setdefault((case, tool), defaultdict(list))[stage].append(seconds)
    stages = list(dict.fromkeys(stage for row in table.values() for stage in row))
    lines = ["| case | effort | " + " | ".join(stages) + " |", "|" + "---|" * (2 + len(stages))]
    for (case, tool), row in table.items():
        cells = [f"{statistics.median(row[stage]):.2f}" if stage in row else "" for stage in stages]
        lines.append("| " + " | ".join([case, OURS[tool], *cells]) + " |")
    return "\n".join(lines) + "\n"


COLORS = {
    "ours fast": "#9ecae1", "ours": "#3182bd", "ours best": "#08306b", "greedy": "#e6550d", "syn": "#31a354", "elastix": "#756bb1",
    "fireants": "#d62728",
}  # fmt: skip


def draw(path: Path, record: dict[str, Any]) -> None:
    """Draw accuracy against seconds: one panel a case, one point a tool; better is up and left. A ring marks a result with folds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tools = held(record)
    cases = [case for case, row in record["rows"].items() if any(good(row.get(tool)) for tool in tools)]
    if not cases:
        return
    columns = min(len(cases), 3)
    figure = Figure(figsize=(4.0 * columns, 3.3 * -(-len(cases) // columns) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(cases) // columns), columns, squeeze=False).ravel()
    for panel, case in zip(panels, cases, strict=False):
        panel_of(panel, case, record["rows"][case], tools)
    for panel in panels[len(cases) :]:
        panel.set_axis_off()
    handles = {text: handle for panel in panels for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    shown = [tool for tool in tools if tool in handles]
    figure.legend([handles[tool] for tool in shown], shown, loc="outside lower center", ncols=min(7, 2 * columns + 1))
    figure.savefig(path, dpi=130)


def panel_of(panel: Any, case: str, row: dict[str, Any], tools: list[str]) -> None:
    """Draw one case."""
    key, title, sign = judge(row["before"])
    for tool in tools:
        if not good(row.get(tool)):
            continue
        found = row[tool]
        times = [run["seconds"] for run in found["runs"] if "failed" not in run]
        x, y = statistics.median(times), found["score"][key]
        panel.plot([min(times), max(times)], [y, y], color=COLORS[tool], linewidth=1)
        panel.plot(x, y, "o", color=COLORS[tool], label=tool, markersize=7)
        if found["score"]["fold_digital_pct"] > 0:
            panel.plot(x, y, "o", markersize=13, markerfacecolor="none", markeredgecolor=COLORS[tool])
    panel.set(xscale="log", xlabel="seconds", ylabel=title)
    panel.set_title(case, fontsize=10)
    panel.grid(alpha=0.3, which="both")
    low, high = panel.get_xlim()
    ticks = [t for t in (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500) if low <= t <= high]
    panel.set_xticks(ticks, [f"{t:g}" for t in ticks])
    panel.minorticks_off()
    if sign < 0:
        panel.invert_yaxis()


def machine() -> str:
    """Describe the machine in a few words."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} processors"


def how(plan: Plan, versions: dict[str, str], why: dict[str, str]) -> str:
    """Say in words what was measured how."""
    masks = "masks given to ours where a case has them, peers see raw images alone" if plan.masks else "raw images alone for every tool"
    text = (
        f"Interleaved repeats (the last time {plan.repeats}), medians; {plan.threads} threads each, {machine()}, device {plan.device}, "
        f"load at the start {os.getloadavg()[0]:.1f}; {masks}. Each cell: accuracy, seconds from files on disk to transform, peak memory "
        "of the process, digital folds in the fixed foreground if any. "
        + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    )
    return text + "".join(f" {tool} was left out: {reason}." for tool, reason in why.items())


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = case_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--tools", default=",".join((*OURS, *PEERS)), help="default: %(default)s")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the peers installed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="for ours; FireANTs runs on a GPU or not at all")
    parser.add_argument("--no-masks", dest="masks", action="store_false", help="ours sees the raw images alone, too")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="seconds after which a registration is ended")
    return parser.parse_args()


def main() -> None:
    """Compare."""
    words = arguments()
    asked = tuple(words.tools.split(","))
    unknown = set(asked) - {*OURS, *PEERS}
    if unknown:
        raise SystemExit(f"Expected tools of {', '.join((*OURS, *PEERS))}; got {', '.join(sorted(unknown))}.")
    python = shutil.which(words.peers_python) or words.peers_python
    plan = Plan(
        tuple(words.cases), asked, words.repeats, words.threads, words.device, words.masks, words.limit, python, words.out
    )  # fmt: skip
    plan, why, versions = availability(plan)
    for tool, reason in why.items():
        print(f"{tool} is left out: {reason}.", flush=True)
    kept = plan.out / "results.json"
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.exists() else {}
    record = {"how": how(plan, versions, why), "versions": versions, "threads": plan.threads, "left_out": why, "rows": rows}
    compare(plan, words.referee, record)
    print(markdown(record))


if __name__ == "__main__":
    main()
