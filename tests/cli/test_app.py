"""`nerf-insert app`: what it refuses before anything is served, and what it warns of."""

import json
import sys
from importlib.util import find_spec

import pytest

from nerf_insert.app import server
from nerf_insert.cli.main import main


@pytest.mark.parametrize(
    "words, part",
    [
        (["nowhere"], "there is no capture"),
        (["--auth", "me"], "NAME:PASSWORD"),
        (["--auth", ":secret"], "NAME:PASSWORD"),
        (["--port", "0"], "between 1 and 65535"),
        (["--port", "http"], "not a whole number"),
        (["--root-path", "nerf"], "neither a path that begins with / nor an http address"),
    ],
)
def test_bad_input(words, part, tmp_path, capsys):
    assert main(["app", *words, "--workspace", str(tmp_path), "--json"]) == 2
    assert part in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.skipif(find_spec("mcp") is not None, reason="gradio's MCP part is installed here")
def test_mcp_without_its_part_is_said(tmp_path, capsys):
    assert main(["app", "--mcp", "--workspace", str(tmp_path), "--json"]) == 2
    assert "gradio[mcp]" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    "words, warned",
    [
        ([], None),
        (["--host", "0.0.0.0"], "from other machines"),
        (["--share"], "from the internet"),
        (["--share", "--auth", "me:secret"], "from the internet"),
    ],
)
def test_who_can_get_in_is_said(words, warned, tmp_path, capsys, monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", lambda settings, first, ready: served.append(settings))
    assert main(["app", *words, "--workspace", str(tmp_path), "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out).get("warnings", [])
    assert bool(warnings) == bool(warned)
    if warned:
        assert warned in warnings[0] and ("no password" in warnings[0]) == ("--auth" not in words)
    (settings,) = served
    assert (settings.share, settings.host) == (
        "--share" in words,
        words[1] if "--host" in words else "127.0.0.1",
    )


@pytest.mark.parametrize(
    "words, module, extra",
    [
        (["app"], "gradio", "app"),
        (["models"], "huggingface_hub", "diffusion"),
        (["train", "--nerfstudio", "config.yml", "--out", "scene"], "nerfstudio", "nerfstudio"),
    ],
)
def test_a_missing_extra_is_named_with_the_command(words, module, extra, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert main([*words, "--json"]) == 2
    assert f"pip install 'nerf-insert[{extra}]'" in json.loads(capsys.readouterr().out)["error"]
