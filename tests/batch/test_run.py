"""Lists run to their end, here and with Ray: retries, kills, failures, and the same results."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny

from nerf_insert.batch.execute import Outcome
from nerf_insert.batch.jobs import Job
from nerf_insert.batch.local import LocalBackend
from nerf_insert.batch.order import order_jobs
from nerf_insert.batch.run import Places, run_jobs
from nerf_insert.cli.commands.batch import uses_of
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError, Stopped
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.scene import Scene


def backend(kind, workers=2):
    if kind == "local":
        return LocalBackend(workers)
    pytest.importorskip("ray")
    from nerf_insert.batch.ray_cluster import RayBackend

    return RayBackend(workers=workers)


def run(jobs, places, kind="local", progress=None):
    waits = order_jobs(jobs, lambda job: uses_of(job, places.cwd))
    return run_jobs(jobs, waits, places, backend(kind), progress or Progress())


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "jobs", tmp_path)


def states(outcomes: list[Outcome]):
    return {outcome.name: outcome.state for outcome in outcomes}


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_a_failure_lets_only_those_that_wait_be_skipped(places, scene_folder, kind):
    tiny.tiny_layer(scene_folder, name="ball")
    jobs = [
        Job("rename", ["layers", str(scene_folder), "rename", "1", "cube"]),
        Job("wrong", ["layers", str(scene_folder), "disable", "7"]),
        Job("after", ["layers", str(scene_folder)], needs=["wrong"]),
        Job("free", ["models", "list"]),
    ]
    outcomes = run(jobs, places, kind)
    assert states(outcomes) == {"rename": "done", "wrong": "failed", "after": "skipped", "free": "done"}
    assert "has no layer 7" in outcomes[1].message and outcomes[1].attempts == 1  # bad input: once
    assert "wrong" in outcomes[2].message
    assert Scene.open(scene_folder).layers[0].name == "cube"
    assert outcomes[0].result["layers"][0]["name"] == "cube"
    again = run(jobs, places, kind)
    assert states(again) == states(outcomes)
    assert again[0].attempts == 1 and again[1].attempts == 2  # what is done is not done again


def test_the_command_runs_a_list_and_fails_with_it(tmp_path, scene_folder, capsys):
    file = tmp_path / "list.yaml"
    file.write_text(f"jobs: [{{name: a, run: [layers, {scene_folder}]}}, {{name: b, run: layers gone}}]")
    assert main(["batch", str(file), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert [job["name"] for job in plan] == ["a", "b"] and not (tmp_path / "list-jobs").exists()
    assert main(["batch", str(file), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["counts"] == {"done": 1, "failed": 1} and "there is no scene folder" in str(
        result["jobs"][1]
    )
    assert main(["batch", str(file)]) == 1
    assert "failed" in capsys.readouterr().out


def wait_for_process(folder: Path) -> int:
    """The process of the command whose log lies in a folder."""
    for _ in range(600):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "fd" / "2") == str(folder / "log.jsonl"):
                    return int(entry.name)
            except OSError:
                continue
        time.sleep(0.1)
    raise AssertionError("the job was never started")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_job_is_started_again(places):
    job = Job("list", ["models", "list"])
    results = []
    thread = threading.Thread(target=lambda: results.extend(run([job], places)))
    thread.start()
    os.kill(wait_for_process(places.out / "list"), signal.SIGKILL)
    thread.join()
    assert states(results) == {"list": "done"} and results[0].attempts == 2


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_jobs_die_with_a_killed_head_and_the_list_goes_on(tmp_path, scene_folder):
    file = tmp_path / "list.yaml"
    file.write_text(f"jobs: [{{name: a, run: [render, {scene_folder}, --split, all, --out, images]}}]")
    command = [sys.executable, "-m", "nerf_insert", "batch", str(file), "--json"]
    head = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process = wait_for_process(tmp_path / "list-jobs" / "a")
    head.kill()
    head.wait()
    for _ in range(100):
        if not Path(f"/proc/{process}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{process}").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert (
        json.loads(done.stdout)["jobs"][0]["attempts"] == 2 and len([*(tmp_path / "images").iterdir()]) == 14
    )


def test_a_stop_ends_running_commands(places, scene_folder):
    progress = Progress()
    words = ["render", str(scene_folder), "--orbit", "--seconds", "3000", "--out", "images"]
    threading.Thread(
        target=lambda: (wait_for_process(places.out / "long"), progress.stop()), daemon=True
    ).start()
    with pytest.raises(Stopped):
        run([Job("long", words)], places, progress=progress)
    assert json.loads((places.out / "long" / "job.json").read_text())["state"] == "stopped"


def test_more_cards_than_there_are_is_refused(places):
    with pytest.raises(InputError, match="asks for 64 GPUs, and this machine has 0"):
        run([Job("a", ["models", "list"], gpus=64)], places)
    assert not (places.out / "a").exists()
