"""Claim: `import inputlayer` takes at most 0.1 s, and loads neither PyTorch nor polars.

Each figure is that of a new interpreter, timed inside it around the import; the interpreter's own start is not in it.
Below: the same up to the first use of a class that stands on polars and PyTorch, which is when they are loaded.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from common import ROOT, machine, table

HEAVY = ("torch", "polars", "numpy", "lightning", "sklearn", "rich", "typer")
CODE = """
import json, sys, time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {heavy} if name in sys.modules]]))
"""
STATEMENTS = {
    "import inputlayer": 9,
    "import inputlayer; inputlayer.Table": 3,
    "import inputlayer; inputlayer.Model": 3,
}


def timed(statement: str) -> tuple[float, list[str]]:
    """Seconds in a new interpreter, and which of the heavy packages it has loaded then."""
    code = CODE.format(statement=statement, heavy=HEAVY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, loaded = json.loads(done.stdout)
    return seconds, loaded


def main() -> None:
    rows = []
    for statement, rounds in STATEMENTS.items():
        timed(statement)  # writes the compiled files, and brings them into the system's cache
        runs = [timed(statement) for _ in range(rounds)]
        seconds = [run[0] for run in runs]
        figures = [f"{figure:.3f}" for figure in (min(seconds), statistics.median(seconds), max(seconds))]
        rows.append([f"`{statement}`", rounds, *figures, ", ".join(runs[0][1]) or "none of them"])
    print("## Import\n\nAt most 0.1 s is claimed of the first line, without PyTorch and polars.\n")
    print(table(["", "runs", "best, s", "median, s", "worst, s", f"of {', '.join(HEAVY)} it loads"], rows))
    print(f"\n{machine()} Load average at the end: {os.getloadavg()[0]:.1f}.\n")


if __name__ == "__main__":
    main()
