"""How progress is shown, and how work is paused and stopped."""

import io
import json
import threading
import time

import pytest

from nerf_insert.errors import Stopped
from nerf_insert.runtime.progress import Progress, duration


def test_progress_as_lines():
    out = io.StringIO()
    progress = Progress.of("auto", out)  # not a terminal
    with progress.task("Training [the] base", total=4) as task:
        progress.every = 0
        task.advance(1, note="31.2 dB")
        progress.warn("careful")
    text = out.getvalue()
    assert "Training [the] base: 25%" in text and "left" in text and "31.2 dB" in text
    assert "warning: careful" in text and "done in" in text


def test_progress_for_machines_is_one_object_a_line():
    out = io.StringIO()
    progress = Progress.of("json", out)
    progress.every = 0
    with pytest.raises(KeyError), progress.task("Painting", total=3) as task:
        progress.say('a "quoted"\nline')
        task.advance(note="x")
        raise KeyError
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["start", "message", "progress", "end"]
    assert events[2]["share"] == pytest.approx(1 / 3, abs=1e-4) and events[2]["left"] >= 0
    assert events[3]["finished"] is False


def test_progress_as_a_bar_and_silent():
    out = io.StringIO()
    for mode in ("bar", "silent"):
        progress = Progress.of(mode, out)
        with progress.task("Outer [x]", total=2) as outer:
            with progress.task("Inner", total=1) as inner:
                inner.advance(5)
                assert inner.share == 1
            outer.advance()
            progress.say("[bold]literally")
        if mode == "bar":
            assert "Outer [x]" in out.getvalue() and "[bold]literally" in out.getvalue()
            out.truncate(0)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (80, "1 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_work_waits_while_it_is_paused_and_the_time_does_not_count():
    progress, reached = Progress(), []

    def work():
        with progress.task("x", total=3) as task:
            for step in range(3):
                task.advance(1)
                reached.append((step, task.elapsed))

    began = time.monotonic()
    progress.pause()
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    assert reached == []  # it waits at its first report
    progress.resume()
    thread.join(timeout=30)
    wall = time.monotonic() - began
    assert [step for step, _ in reached] == [0, 1, 2]
    assert 0 < progress.idle < wall and reached[-1][1] <= wall - progress.idle


@pytest.mark.parametrize("paused", [False, True])
def test_stopping_ends_the_work_at_its_next_report(paused):
    progress, ended, busy = Progress(), [], threading.Event()

    def work():
        try:
            with progress.task("x", total=1e9) as task:
                while True:
                    task.advance(1)
                    busy.set()
        except Stopped:
            ended.append(task.done)

    if paused:
        progress.pause()
    thread = threading.Thread(target=work)
    thread.start()
    assert busy.wait(timeout=0.2 if paused else 30) != paused
    progress.stop()
    thread.join(timeout=30)
    assert not thread.is_alive() and len(ended) == 1
    assert not paused or ended[0] == 1


def test_metrics_are_kept_until_their_next_value():
    with Progress().task("x", total=4) as task:
        task.advance(metrics={"loss": 2.0, "psnr": 20.0})
        task.advance(metrics={"loss": 1.0})
        task.advance()
        assert task.metrics == {"loss": 1.0, "psnr": 20.0}
