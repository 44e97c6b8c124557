"""Triton's kernels compiled ahead of time for GPUs that are not there. What they compute is tried in the
interpreter, in test_kernels_every_backend.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "triton_kernels.py"
FEW = "encode;encode, to table;composite, backward"  # the others take a minute


def test_they_compile_for_each_generation_of_gpus_and_keep_to_registers(tmp_path):
    words = [sys.executable, SCRIPT, "--only", FEW, "--arch", "80,90,120", "--json", tmp_path / "rows.json"]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["kernel"], row["arch"]) for row in rows] == [
        (name, arch) for name in FEW.split(";") for arch in (80, 90, 120)
    ]
    for row in rows:
        assert 8 < row["registers"] <= 128 and row["spilled_bytes"] == 0, row
