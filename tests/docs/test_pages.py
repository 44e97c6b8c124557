"""All pages, the README included: links lead somewhere, commands parse, Python compiles, messages exist."""

import ast
import json
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify
from PIL import Image

import nerf_insert
from nerf_insert.capture.bundled_sample import sample_path
from nerf_insert.cli.main import COMMANDS, main
from nerf_insert.regions.spec import Masks
from nerf_insert.scene.scene import Scene

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
PACKAGES = [Path(nerf_insert.__file__).parent, ROOT / "app", ROOT / "kernels" / "src"]


def without_code(text):
    """The text without fenced blocks and code spans."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^    .*$", "", text, flags=re.MULTILINE))


def anchors(page):
    """The anchors of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {slugify(re.sub(r"[`*]", "", title), "-") for title in titles}


def broken_links(page, text):
    """Links and images of a page that lead nowhere."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = page if not file else page.parent / file
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_links_images_and_anchors_lead_somewhere(page):
    assert broken_links(ROOT / page, (ROOT / page).read_text()) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title\n\n## Two `words`\n")
    text = "[a](#two-words) [b](#none) ![c](none.png) [d](page.md#a-title) `[e](none)` [f](https://x.y/z)"
    assert broken_links(page, text) == ["#none", "none.png"]


def commands(text):
    """The `nerf-insert` commands in the fenced and indented blocks of a page, each as a list of words."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^ *(nerf-insert .*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)[1:]
        stop = next((k for k, word in enumerate(words) if word in ("&&", "&", "|")), len(words))
        if not re.search(r"\[|\(|\.\.\.|\|", " ".join(words[:stop])):  # synopses are not commands
            yield words[:stop]


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_the_pages_are_understood(page, monkeypatch, capsys):
    shown = [words for words in commands((ROOT / page).read_text()) if words[0] in COMMANDS]
    parsed = []
    for name in COMMANDS:
        module = import_module(f"nerf_insert.cli.commands.{name.replace('-', '_')}")
        monkeypatch.setattr(module, "run", lambda args, console: (parsed.append(args), ({}, ""))[1])
    monkeypatch.setattr("nerf_insert.runtime.kernel_warmup.start", lambda **_: None)
    for words in shown:
        assert main(words) == 0, f"{page}: nerf-insert {' '.join(words)}: {capsys.readouterr().err}"
    assert len(parsed) == len(shown)


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python_on_the_pages_compiles_and_imports_what_exists(page):
    for block in python_blocks((ROOT / page).read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nerf_insert"):
                module = import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def half_of_the_sample(folder):
    """Copy every third photograph of the bundled sample, half as wide and as high, with masks of these."""
    whole = json.loads((sample_path() / "transforms.json").read_text())
    frames = whole["frames"][1::3]
    names = {frame["file_path"] for frame in frames}
    kept = {
        key: [name for name in whole[key] if name in names] for key in whole if key.endswith("_filenames")
    }
    halved = {key: whole[key] / 2 for key in ("fl_x", "fl_y", "cx", "cy")}
    halved |= {key: whole[key] // 2 for key in ("w", "h")}
    for file in [*sorted(names), *(f"masks/{file.name}" for file in (sample_path() / "masks").glob("*.png"))]:
        with Image.open(sample_path() / file) as image:
            half = image.resize((image.width // 2, image.height // 2))
        if file in names or any(Path(name).stem == Path(file).stem for name in names):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            half.save(folder / file)
    shutil.copy(sample_path() / "object.ply", folder)
    (folder / "transforms.json").write_text(json.dumps({**whole, **halved, **kept, "frames": frames}))


@pytest.mark.slow
@pytest.mark.usefixtures("coarse_light")
def test_the_readme_s_python_runs(tmp_path, monkeypatch):
    """As it stands, but on half of the sample, with few steps and frames, masks instead of the click, and a
    removal that leaves the shadow (taken back in tests/examples)."""
    (code,) = python_blocks((ROOT / "README.md").read_text())
    for old, new in (
        ('train_scene("data/sample", "my-scene")', 'train_scene("data/sample", "my-scene", steps=60)'),
        ("edit(scene, mesh=", "edit(scene, steps=20, mesh="),
        ("edit(scene, region=", 'edit(scene, steps=20, shadow="none", region='),
        ('Points({"022": [(67, 108)]})', "masks"),  # a click needs a base that shows where things are
        ("orbit_cameras(scene)", "orbit_cameras(scene, 2)"),
    ):
        assert code.count(old) == 1
        code = code.replace(old, new)
    half_of_the_sample(tmp_path / "data" / "sample")
    monkeypatch.chdir(tmp_path)
    files = sorted(Path("data/sample/masks").glob("*.png"))
    masks = Masks({file.stem: str(file) for file in files}, exact=True)
    exec(compile(code, "README.md", "exec"), {"masks": masks})
    layers = [entry.name for entry in Scene.open("my-scene").layers if entry.shade_of is None]
    assert layers == ["rocket", "remove the mug"]
    assert Path("orbit.mp4").stat().st_size > 1000


def source_text():
    """All text of the engine's string literals, f-strings with their values left out."""
    parts = []
    for package in PACKAGES:
        for file in sorted(package.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    values = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
                    parts.append("".join(values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    parts.append(node.value)
    return "\n".join(parts)


def test_messages_on_the_page_on_troubleshooting_are_those_of_the_code():
    """Every quoted message is in the code, where ... stands for what a message fills in."""
    quoted = re.findall(r"^### (.*)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    source = source_text()
    missing = []
    for message in quoted:
        pieces = [piece.strip(" `") for piece in re.split(r"…|`", message)]
        if not all(piece in source for piece in pieces if len(piece) > 3):
            missing.append(message)
    assert len(quoted) >= 20 and missing == []
