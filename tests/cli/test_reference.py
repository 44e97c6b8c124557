"""docs/command-line.md is generated from the parsers."""

import re
from pathlib import Path

import pytest

from nerf_insert.cli import reference
from nerf_insert.cli.main import COMMANDS
from nerf_insert.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def test_page_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert reference.update(page) == page, "run: python -m nerf_insert.cli.reference docs/command-line.md"


def test_every_command_has_a_row_and_a_section():
    page = PAGE.read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"| [{command}](#{command}) |" in page and f"\n## {command}\n" in page


def test_a_stale_page_is_found_and_mended():
    page = PAGE.read_text(encoding="utf-8")
    stale = re.sub(r"\| `--guidance-scale F` .*\n", "", page)
    assert stale != page and reference.update(stale) == page


def test_a_command_without_a_section_is_refused():
    with pytest.raises(InputError, match="parts for demo"):
        reference.update("<!-- options of demo -->\n<!-- end -->")


def test_usage_names_what_is_required():
    parsers = reference._subparsers(reference.build_parser()).choices
    assert reference.usage(parsers["train"]) == "nerf-insert train [CAPTURE] --out SCENE [options]"
    assert reference.usage(parsers["render"]).endswith(
        "(--split train|test|all | --cameras FILE | --orbit) [options]"
    )
