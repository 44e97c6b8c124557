"""The queue: real commands in processes of their own, found again by another server."""

import json
import os
import signal
import subprocess
import sys

import pytest
from browsing import until

from nerf_insert.app.jobs.queue import Job, JobQueue
from nerf_insert.app.services.jobs import job_stages, job_warnings
from nerf_insert.errors import InputError
from nerf_insert.scene.scene import Scene

BOX = ["--box", "0.5,-0.4,0.25,0.4,0.4,0.4", "--inpainter", "fill", "--shadow", "none", "--steps", "40"]


@pytest.fixture
def jobs():
    running = JobQueue()
    yield running
    running.close()


def state(jobs, page, job, *states):
    return until(lambda: (now := jobs.get(page, job.key)).state in states and now)


def test_jobs_run_one_after_the_other_and_say_how_they_ended(jobs, scene_folder, tmp_path, monkeypatch):
    page, mark = scene_folder / "page", tmp_path / "mark"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Painter:\n    inpaint = print\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    good = jobs.add(page, "edit", "edit", lambda folder: ["edit", str(scene_folder), *BOX, "--name", "first"])
    bad = jobs.add(page, "edit", "wrong", lambda folder: ["edit", str(scene_folder), "--box", "1,2"])
    words = ["edit", str(scene_folder), *BOX[:2], "--inpainter", "evil:Painter"]
    evil = jobs.add(page, "edit", "evil", lambda folder: words)
    off = jobs.add(page, "edit", "never", lambda folder: ["edit", str(scene_folder), *BOX])
    assert jobs.get(page, bad.key).state == "waiting"
    jobs.stop(page, off.key)
    assert state(jobs, page, good, "done", "failed").state == "done"
    ended = state(jobs, page, bad, "done", "failed")
    assert ended.state == "failed" and "6 or 9 numbers" in ended.message
    assert "no inpainter 'evil:Painter'" in state(jobs, page, evil, "failed").message and not mark.exists()
    assert jobs.get(page, off.key).state == "stopped" and jobs.result(page, off.key) == {}
    assert jobs.result(page, good.key)["name"] == "first"
    stages, _ = job_stages(jobs.progress(page, good.key))
    assert any(stage["task"].startswith("Fitting") for stage in stages)
    assert all(stage["done"] for stage in stages)
    assert [entry.name for entry in Scene.open(scene_folder).layers] == ["first"]
    jobs.forget(page, bad.key)
    assert [job.key for job in jobs.list_jobs(page)] == [off.key, evil.key, good.key]


def test_a_job_goes_on_without_its_server_and_is_found_again(scene_folder, tmp_path):
    """The server is killed in the middle of an edit; the edit is not, and the next server hears its end."""
    page = scene_folder / "page"
    words = ["edit", str(scene_folder), *BOX[:-1], "100"]
    code = (
        "import sys, time; from pathlib import Path; from nerf_insert.app.jobs.queue import JobQueue\n"
        f"jobs = JobQueue(); jobs.add(Path({str(page)!r}), 'edit', 'edit', lambda folder: {words!r})\n"
        "time.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", code])
    another = JobQueue()
    try:
        (job,) = until(lambda: [j for j in another.list_jobs(page) if j.state == "running"])
        server.kill()
        server.wait()
        another.adopt(page)
        assert another.get(page, job.key).state == "running"
        another.pause(page, job.key)
        assert another.get(page, job.key).state == "paused"
        assert until(another.held_up_by).key == job.key  # its thread may not have taken it over yet
        another.resume(page, job.key)
        assert another.held_up_by() is None
        assert state(another, page, job, "done", "failed", "stopped").state == "done"
        assert len(Scene.open(scene_folder).layers) == 1
    finally:
        another.close()


def test_closing_the_server_stops_what_runs_and_the_next_one_goes_on(scene_folder, tmp_path):
    page = scene_folder / "page"
    words = ["edit", str(scene_folder), *BOX[:-1], "150"]
    first = JobQueue(tmp_path / "queue")
    job = first.add(page, "edit", "edit", lambda folder: words)
    until(lambda: any(event.get("task", "").startswith("Fitting") for event in first.progress(page, job.key)))
    waits = first.add(page, "edit", "wrong", lambda folder: ["edit", str(scene_folder), "--box", "1,2"])
    beside = JobQueue(tmp_path / "queue")  # of a server that is alive nothing is taken
    beside.adopt(page)
    beside.close()
    assert first.get(page, waits.key).state == "waiting" and first.waiting_before(page, waits.key) == 1
    first.close()
    assert first.get(page, job.key).state == "stopped" and Scene.open(scene_folder).layers == []
    assert first.get(page, waits.key).state == "waiting"
    strange = page / "jobs" / "20260101-000000-abcdef"  # came with the scene folder
    strange.mkdir()
    (strange / "job.json").write_text(json.dumps(Job(strange.name, "edit", "sly", words).__dict__))
    folders = list((scene_folder / "layers").iterdir())
    second = JobQueue(tmp_path / "queue")
    try:
        second.adopt(page)
        assert second.get(page, strange.name).state == "stopped"
        assert "6 or 9 numbers" in state(second, page, waits, "failed").message
        second.resume(page, job.key)
        assert state(second, page, job, "done", "failed").state == "done"
    finally:
        second.close()
    assert list((scene_folder / "layers").iterdir()) == folders  # it went on in the same folder


def test_a_process_number_that_is_used_again_is_not_taken_for_the_job(jobs, tmp_path):
    page, folder = tmp_path / "page", tmp_path / "page" / "jobs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    stale = Job(
        folder.name,
        "edit",
        "old",
        [],
        "running",
        pid=os.getpid(),
        process_started=1.0,
        created=1.0,
        started=1.0,
    )
    (folder / "job.json").write_text(json.dumps(stale.__dict__))
    jobs.adopt(page)
    assert jobs.get(page, stale.key).state == "stopped"
    jobs.stop(page, stale.key)  # and this test is still alive
    assert signal.getsignal(signal.SIGTERM) is not None


def test_what_has_not_ended_stays_in_the_list_and_old_jobs_leave_the_disk(jobs, tmp_path):
    page, made = tmp_path / "page", []
    for k in range(12):
        key, kind = f"20260101-0000{k:02d}-abcdef", "preview" if k == 1 else "edit"
        made.append(Job(key, kind, "old", [], "paused" if k == 0 else "done", created=float(k + 1)))
        (page / "jobs" / key / "out").mkdir(parents=True)
        (page / "jobs" / key / "job.json").write_text(json.dumps(made[-1].__dict__))
    new = jobs.add(page, "edit", "new", lambda folder: ["edit"])
    assert [job.key for job in jobs.list_jobs(page)] == [
        new.key, *(job.key for job in reversed(made[4:])), made[1].key, made[0].key
    ]  # fmt: skip
    assert not (page / "jobs" / made[3].key).exists()


@pytest.mark.parametrize("key", ["", "..", "../../x", "20260101-000000-ABCDEF", "1"])
def test_keys_that_are_none_are_refused(jobs, tmp_path, key):
    with pytest.raises(InputError):
        jobs.get(tmp_path, key)


def test_progress_is_read_while_its_last_line_is_written(jobs, tmp_path):
    folder = tmp_path / "jobs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    lines = [
        {"event": "start", "task": "Painting", "total": 4},
        {"event": "progress", "task": "Painting", "share": 0.5, "left": 61.0, "note": "2 of 4"},
        {"event": "warning", "text": "dim light"},
    ]
    text = "a library says hello\n" + "\n".join(map(json.dumps, lines)) + '\n{"event": "end", "ta'
    (folder / "log.jsonl").write_text(text)
    events = jobs.progress(tmp_path, folder.name)
    stages, notes = job_stages(events)
    assert stages == [
        {"task": "Painting", "fraction": 0.5, "left": "1 min 1 s left", "note": "2 of 4", "done": False}
    ]
    assert notes == [] and job_warnings(events) == ["Dim light."]


def test_a_job_with_the_keys_of_the_first_version_is_listed(jobs, tmp_path):
    folder = tmp_path / "jobs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    old = {
        "key": folder.name,
        "kind": "edit",
        "title": "old",
        "words": ["edit"],
        "state": "stopped",
        "born": 1.0,
    }
    (folder / "job.json").write_text(json.dumps(old))
    (job,) = jobs.list_jobs(tmp_path)
    assert (job.arguments, job.process_started) == (["edit"], 1.0)
