"""What the scripts of this folder share: the data, systems that run in processes of their own, tables, the machine.

Imported from both environments, so it needs NumPy and nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "bench" / ".venv-peers" / "bin" / "python"

CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
TRAIN, LOOK_BACK, HORIZON, BATCH, UNITS = 8640, 96, 24, 64, 64
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
FILES = "BENCH_FILES"  # the folder of files that were made for the processes that are measured

Report = Callable[[dict[str, list[dict[str, Any]]]], str]


class System(NamedTuple):
    """One thing that is measured: `function` runs in a process of its own and gives figures as JSON values."""

    name: str
    function: Callable[[], dict[str, Any]]
    peer: bool = True
    environment: Mapping[str, str] = {}
    packages: tuple[str, ...] = ()


def data_file(name: str) -> Path:
    """A file of the real data, or an end that says where it is looked for."""
    folder = Path(os.environ.get("INPUTLAYER_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / name).is_file():
        sys.exit(f"{folder / name} is absent: set INPUTLAYER_DATA to the folder of real data")
    return folder / name


def etth1(first: int = 0, last: int = TRAIN) -> np.ndarray:
    """Rows of ETTh1, (rows, 7) float32, standardised by its training part as every system would have it."""
    rows = np.loadtxt(data_file("ett/ETTh1.csv"), delimiter=",", skiprows=1, usecols=range(1, 8))
    train = rows[:TRAIN]
    return ((rows[first:last] - train.mean(0)) / train.std(0)).astype(np.float32)


def hours(first: int = 0, last: int = TRAIN) -> np.ndarray:
    """The times of those rows."""
    return np.datetime64("2016-07-01T00:00:00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")


def windows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All windows laid out: look-backs (n, 96, 7) and horizons (n, 24, 7)."""
    view = np.lib.stride_tricks.sliding_window_view(rows, LOOK_BACK + HORIZON, axis=0).transpose(0, 2, 1)
    return np.ascontiguousarray(view[:, :LOOK_BACK]), np.ascontiguousarray(view[:, LOOK_BACK:])


def review_sentences(label: str) -> list[str]:
    """The movie reviews that are ``"negative"`` or ``"positive"``: 5,331 sentences."""
    text = data_file(f"movie_reviews/rt-polarity.{label[:3]}").read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line]


class Stopwatch:
    """Seconds of each lap, and the processor seconds beside them: on a busy machine the second tell more."""

    def __init__(self) -> None:
        self.laps: list[tuple[float, float]] = []
        self._start = (0.0, 0.0)

    def start(self, *_: Any) -> None:
        self._start = (time.perf_counter(), time.process_time())

    def stop(self, *_: Any) -> None:
        self.laps.append((time.perf_counter() - self._start[0], time.process_time() - self._start[1]))

    def repeat(self, work: Callable[[], Any], repeats: int) -> None:
        """One lap for each run of `work`."""
        for _ in range(repeats):
            self.start()
            work()
            self.stop()

    def rates(self, count: int, note: str = "") -> dict[str, Any]:
        """`count` per second of the quickest lap but the first, which pays for compiling and caches; what was noted."""
        laps = self.laps[1:]
        rate, per_cpu = count / min(wall for wall, _ in laps), count / min(cpu for _, cpu in laps)
        return {"rate": rate, "per_cpu": per_cpu, "laps": self.laps, **({"note": note} if note else {})}


def main(script: str, systems: Sequence[System], report: Report) -> None:
    """Run one system, where the command line names it; otherwise all of them in turn, and print the report.

    ``--rounds 2``: how often; ``--only TEXT``: systems whose name holds the text.
    """
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    if "--one" in arguments:
        (system,) = (s for s in systems if s.name == arguments["--one"])
        print("\n" + json.dumps(system.function()))
        return
    chosen = [s for s in systems if arguments.get("--only", "").lower() in s.name.lower()]
    found: dict[str, list[dict[str, Any]]] = {s.name: [] for s in chosen}
    load = os.getloadavg()[0]
    for number in range(int(arguments.get("--rounds", 2))):
        # Turned round each time, so that no system always runs at the same place.
        for system in chosen if number % 2 == 0 else reversed(chosen):
            print(f"round {number + 1}: {system.name}", file=sys.stderr)
            found[system.name].append(in_new_process(script, system))
    print(report(found))
    busy = f" Load average before the first run: {load:.1f}." if load > 0.5 else ""
    print(f"\n{machine()}{busy}\n")


def main_on_files(
    script: str, systems: Sequence[System], report: Report, write: Callable[[int], None], sizes: Sequence[int]
) -> None:
    """`main` for systems that read files: a folder of them, whose name FILES has, is there while it runs."""
    if FILES in os.environ:  # one of the processes that are measured
        main(script, systems, report)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FILES] = folder
        for size in sizes:
            write(size)
        main(script, systems, report)


def in_new_process(script: str, system: System) -> dict[str, Any]:
    """The figures of one run, or ``{"error": its last line}``."""
    python = PEERS if system.peer else sys.executable
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT / 'bench'}"
    environment = {**os.environ, **threads, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **system.environment}
    if not Path(python).exists():
        return {"error": "not installed: make peers"}
    command = [str(python), script, "--one", system.name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:160]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def best(runs: Iterable[Mapping[str, Any]], figure: str = "rate") -> float | None:
    """The highest `figure` of all rounds, None where no run gave one."""
    return max((float(run[figure]) for run in runs if figure in run), default=None)


def rates(found: Mapping[str, Sequence[Mapping[str, Any]]], unit: str, against: str) -> str:
    """A table of all systems: the best rate, each round's, that per processor second; `against` as a multiple of it."""
    ours = best(found.get(against, []))
    rows = []
    for name, runs in found.items():
        rate, per_cpu = best(runs), best(runs, "per_cpu")
        each = ", ".join(f"{run['rate']:,.0f}" for run in runs if "rate" in run)
        notes = dict.fromkeys(str(run[key]) for run in runs for key in ("note", "error") if key in run)
        multiple = f"{ours / rate:.2f}" if ours and rate else "-"
        rows.append([name, number(rate), each or "-", number(per_cpu), multiple, "; ".join(notes)])
    return table([unit, "best", "each round", "per CPU second", f"{against} / it", "note"], rows)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns aligned for a terminal too."""
    cells = [list(map(str, row)) for row in [heads, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def machine() -> str:
    """The machine and the versions, for the line below a table."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = [line.split("==")[0] for line in (ROOT / "bench" / "peers.txt").read_text().splitlines() if "==" in line]
    code = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    peers = ""
    if PEERS.exists():
        done = subprocess.run([str(PEERS), "-c", code, *names], capture_output=True, text=True, check=False)
        peers = f"; {done.stdout.strip()}"
    about = Path("/proc/cpuinfo")
    models = [line for line in about.read_text().splitlines() if "model name" in line] if about.exists() else []
    processor = models[0].split(":")[1].strip() if models else platform.processor()
    return (
        f"{cores} cores ({processor}), {THREADS} threads. "
        f"Python {platform.python_version()}, torch {installed('torch')}{peers}."
    )


def installed(package: str) -> str:
    """The version of `package` in this environment."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
