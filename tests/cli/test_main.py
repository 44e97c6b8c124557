"""How commands start and end: quickly, with the right exit code, in words."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nerf_insert.cli.commands import layers
from nerf_insert.cli.main import COMMANDS, main

HEAVY = ("torch", "numpy", "nerfstudio", "PIL", "rich")
PROBE = """
import sys
{}
try:
    from nerf_insert.cli.main import main
    main({!r})
finally:
    print(*[name for name in {!r} if name in sys.modules], file=sys.stderr)
"""


def start(*words, **options):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "nerf_insert", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def heavy_imports(words, before=""):
    probe = [sys.executable, "-c", PROBE.format(before, list(words), HEAVY)]
    return subprocess.run(probe, capture_output=True, text=True).stderr.split("\n")[-2].split()


@pytest.mark.parametrize("words", [["--help"], ["edit", "--help"], ["train"], ["--version"]])
def test_help_and_mistyped_flags_import_nothing_heavy(words):
    assert heavy_imports(words) == []


def test_the_test_of_imports_can_fail():
    assert heavy_imports(["--help"], before="import numpy") == ["numpy"]


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"\n    {command}\s", text) for command in COMMANDS)
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert "--json" in text and "--quiet" in text and "Exit codes" in text


def failing_with(error, monkeypatch):
    def run(args, console):
        raise error

    monkeypatch.setattr(layers, "run", run)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 1, "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
            1,
            "not enough memory",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/here"),
            1,
            "/here: No space left on device; make room",
        ),
        (KeyboardInterrupt(), 130, "stopped"),
        (SystemExit(0), 1, "ended the program"),
    ],
)
def test_failures_in_plain_words(monkeypatch, capsys, error, code, message):
    failing_with(error, monkeypatch)
    assert main(["layers", "scene"]) == code
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and "bug" not in err and out == ""
    assert main(["layers", "scene", "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False and message in answer["error"]


def test_a_bug_is_owned_up_to_and_its_traceback_kept(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing_with(ZeroDivisionError("of ours"), monkeypatch)
    assert main(["layers", "scene"]) == 1
    err = capsys.readouterr().err
    (log,) = tmp_path.iterdir()
    assert "this is a bug in NeRF-Insert, please report it with the log in " + str(log) in err
    assert "Traceback" not in err and "ZeroDivisionError: of ours" in err
    assert "Traceback" in log.read_text() and "failing_with" not in err


def test_what_others_print_does_not_spoil_the_result(monkeypatch, capsys):
    def run(args, console):
        print("hello from a library")
        console.progress.warn("look out")
        return {"answer": float("inf")}, "text"

    monkeypatch.setattr(layers, "run", run)
    assert main(["layers", "scene", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": True, "answer": None, "warnings": ["look out"]}
    assert "hello from a library" in err
    assert main(["layers", "scene"]) == 0
    out, err = capsys.readouterr()
    assert out == "text\n" and "warning: look out" in err


def test_quiet_keeps_warnings_and_results(monkeypatch, capsys):
    def run(args, console):
        with console.progress.task("Working", total=1) as task:
            task.advance(1)
        console.progress.warn("look out")
        return {}, "text"

    monkeypatch.setattr(layers, "run", run)
    assert main(["layers", "scene", "--quiet"]) == 0
    assert capsys.readouterr() == ("text\n", "warning: look out\n")
    assert main(["layers", "scene", "--quiet", "--json"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["layers", "scene", "--json"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events[0] == "start" and events[-2:] == ["end", "warning"]


def test_an_interrupt_that_a_library_made_another_error_of_stops_all_the_same(monkeypatch, capsys):
    """Python 3.11 turns what is raised while an Enum is being defined, as in many a module, into an error of
    its own."""

    class Interrupted(int):
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    def run(args, console):
        type("Names", (), {"one": Interrupted()})

    monkeypatch.setattr(layers, "run", run)
    assert main(["layers", "scene"]) == 130
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_a_kernel_is_loaded(monkeypatch, number):
    """Or llvmlite's lock stays closed, and another thread that loads a kernel keeps the program for ever."""
    compiler = {"__name__": "numba.core.dispatcher", "signal": signal, "time": time, "done": []}
    exec("def load(n):\n    signal.raise_signal(n)\n    time.sleep(0.2)\n    done.append(n)", compiler)

    def run(args, console):
        compiler["load"](number)
        time.sleep(30)
        raise AssertionError("nothing interrupted this")

    monkeypatch.setattr(layers, "run", run)
    assert main(["layers", "scene"]) == 130
    assert compiler["done"] == [number]


def test_the_signals_handlers_are_put_back(monkeypatch):
    failing_with(KeyboardInterrupt(), monkeypatch)
    before = signal.getsignal(signal.SIGTERM)
    main(["layers", "scene"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_has_gone_does_not_stop_the_work(tiny_folder):
    """`nerf-insert ... | head -0`, with stderr in the same pipe."""
    read, write = os.pipe()
    os.close(read)
    script = [sys.executable, "-m", "nerf_insert", "render", str(tiny_folder / "scene"), "--split", "test"]
    out = tiny_folder.parent / "gone"
    done = subprocess.run([*script, "--out", str(out), "--scale", "0.2"], stdout=write, stderr=write)
    os.close(write)
    assert done.returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["003.png", "010.png"]


def test_terminated_training_says_how_to_go_on(tiny_folder, tmp_path):
    process = start("train", tiny_folder / "capture", "--out", tmp_path / "s", "--json", "--samples", 4096)
    for line in process.stderr:
        if json.loads(line).get("task") == "Training the base":
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    # stdout has this and nothing else
    assert json.loads(out) == {
        "ok": False,
        "error": "stopped; run the same command again to resume",
    }
    assert not Path(tmp_path / "s" / "scene.json").exists()
