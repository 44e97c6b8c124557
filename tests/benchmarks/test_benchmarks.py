"""The benchmarks run: what they call changes, and nobody runs them every day."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", ["step", "operations"])
def test_the_kernels_benchmark_compares_what_it_says(part, tmp_path):
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.kernels", "--part", part, "--rounds", "1"]
    done = subprocess.run(
        [*command, "--json", file], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(file.read_text())
    assert len(rows) == {"step": 1, "operations": 3}[part]
    assert all(row["ours_ms"] > 0 and row["torch_ms"] > 0 for row in rows)
