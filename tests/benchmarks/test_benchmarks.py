"""The benchmarks run: what they call changes, and nobody runs them every day."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import base, rendering
from nerf_insert.training import scene_trainer

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


def test_the_rendering_benchmark_compares_both_ways(scene_folder, tmp_path, monkeypatch, capsys):
    file = tmp_path / "figures.json"
    command = ["rendering", scene_folder, "--rounds", "1", "--rays", "3000", "--json", file]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    rendering.main()
    base = json.loads(file.read_text())["base"]
    assert base["one pass"] > 0 and base["operations"] > 0 and base["difference"] < 2
    assert "rays/s" in capsys.readouterr().out


def test_the_base_benchmark_compares_with_and_without_measured_depth(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "rows.json"
    command = ["base", tiny_folder / "capture", "--steps", "3", "--json", file]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    monkeypatch.setattr(scene_trainer, "DEPTH_UNTIL", scene_trainer.DEPTH_UNTIL)
    base.main()
    rows = json.loads(file.read_text())
    assert [row["measured depth"] for row in rows] == [False, True]
    assert all(row["psnr"] > 0 and row["seconds"] > 0 for row in rows)
    assert "PSNR" in capsys.readouterr().out
