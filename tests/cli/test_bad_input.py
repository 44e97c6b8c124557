"""What people get wrong, and what they are told: exit code 2, one sentence, nothing of theirs changed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerf_insert.cli.main import main

EVERYWHERE = "0,0,0,50,50,50"  # a box
LOOK = {  # a camera path of one camera
    "render_width": 48,
    "render_height": 36,
    "camera_path": [{"camera_to_world": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1], "fov": 50}],
}
CORNERS = {"left": (0, 0, 12, 10), "right": (36, 26, 48, 36), "middle": (16, 10, 34, 30)}


class Place:
    """A folder to make mistakes in, beside the tiny capture and its scene, which are only looked at."""

    def __init__(self, tmp_path, tiny):
        self.tmp = tmp_path
        self.capture, self.scene = tiny / "capture", tiny / "scene"
        self.new = tmp_path / "new"  # where a scene could be written to

    def file(self, name, content=b""):
        path = self.tmp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def mask(self, part="middle", size=(48, 36), name="mask.png"):
        """A mask with one of the CORNERS white, or everything, or nothing."""
        pixels = np.zeros(size[::-1], np.uint8)
        if part == "everything":
            pixels[:] = 255
        elif part != "nothing":
            left, top, right, bottom = CORNERS[part]
            pixels[top:bottom, left:right] = 255
        path = self.tmp / name
        Image.fromarray(pixels).save(path)
        return path

    def broken_capture(self, change):
        """A copy of the capture, its transforms.json changed; `change` may be text, or alter the data."""
        copy = Path(shutil.copytree(self.capture, self.tmp / "capture"))
        listing = copy / "transforms.json"
        if isinstance(change, str):
            listing.write_text(change)
        else:
            data = json.loads(listing.read_text())
            change(data)
            listing.write_text(json.dumps(data))
        return copy

    def cut_off(self, name):
        """A copy of the capture with a photograph of which only the beginning is there."""
        copy = Path(shutil.copytree(self.capture, self.tmp / "capture"))
        photograph = copy / "images" / name
        photograph.write_bytes(photograph.read_bytes()[:200])
        return copy

    def scene_with(self, **changes):
        """A copy of the scene, scene.json changed."""
        copy = Path(shutil.copytree(self.scene, self.tmp / "scene"))
        data = json.loads((copy / "scene.json").read_text())
        (copy / "scene.json").write_text(json.dumps({**data, **changes}))
        return copy

    def inpainter(self, code):
        """The dotted name of an inpainter of one's own, in a module that no other case has."""
        module = f"own_{abs(hash((str(self.tmp), code)))}"
        self.file(f"{module}.py", code)
        return f"{module}:Own"


def nan_pose(data):
    data["frames"][4]["transform_matrix"][1][3] = float("nan")


def other_size(data):
    data["w"], data["h"] = 40, 40


def no_frames(data):
    data["frames"] = []


def all_missing(data):
    for frame in data["frames"]:
        frame["file_path"] = frame["file_path"].replace("images/", "gone/gone-")
    for split in ("train", "val", "test"):
        del data[f"{split}_filenames"]


def lost_mask(data):
    data["frames"][0]["mask_path"] = "masks/000.png"


GENERAL = [
    ("no command", lambda p: [], "required: COMMAND"),
    ("unknown command", lambda p: ["paint"], "invalid choice: 'paint'"),
    ("unknown flag", lambda p: ["layers", p.scene, "--color"], "unrecognized arguments: --color"),
    ("a word that is empty", lambda p: ["layers", ""], "argument SCENE: it is empty"),
    ("a name that is too long", lambda p: ["layers", "x" * 300], "cannot be the name of a file"),
    ("demo into a file", lambda p: ["demo", "--out", p.file("f")], "is a file, a folder is needed"),
]
TRAIN = [
    ("no out", lambda p: ["train", p.capture], "required: --out"),
    ("no capture", lambda p: ["train", p.tmp / "gone", "--out", p.new], "there is no capture"),
    ("not a capture", lambda p: ["train", p.scene, "--out", p.new], "not a capture that can be read"),
    (
        "capture is a picture",
        lambda p: ["train", p.capture / "images" / "000.png", "--out", p.new],
        "give its folder or its transforms.json",
    ),
    ("not JSON", lambda p: ["train", p.broken_capture('{"frames": ['), "--out", p.new], "not valid JSON"),
    ("NaN pose", lambda p: ["train", p.broken_capture(nan_pose), "--out", p.new], "frame 4 (images/004.png)"),
    ("no frames", lambda p: ["train", p.broken_capture(no_frames), "--out", p.new], "has no frames"),
    ("pictures gone", lambda p: ["train", p.broken_capture(all_missing), "--out", p.new], "none of the 14"),
    (
        "other size",
        lambda p: ["train", p.broken_capture(other_size), "--out", p.new],
        "intrinsics are for 40x40",
    ),
    (
        "lost mask",
        lambda p: ["train", p.broken_capture(lost_mask), "--out", p.new],
        "does not exist; restore",
    ),
    ("cut off", lambda p: ["train", p.cut_off("005.png"), "--out", p.new], "005.png"),
    ("cut off test view", lambda p: ["train", p.cut_off("003.png"), "--out", p.new], "003.png"),
    ("out is a scene", lambda p: ["train", p.capture, "--out", p.scene], "already holds a scene"),
    ("out is a file", lambda p: ["train", p.capture, "--out", p.file("f")], "choose a folder for --out"),
    (
        "out in a file",
        lambda p: ["train", p.capture, "--out", p.file("f") / "scene"],
        "cannot write to",
    ),
    ("no steps", lambda p: ["train", p.capture, "--out", p.new, "--steps", "0"], "--steps: 0 is not between"),
    ("many steps", lambda p: ["train", p.capture, "--out", p.new, "--steps", "many"], "not a whole number"),
    ("no size", lambda p: ["train", p.capture, "--out", p.new, "--downscale", "nan"], "not a finite number"),
    (
        "no such dataparser",
        lambda p: ["train", p.capture, "--out", p.new, "--dataparser", "fancy"],
        "there is no dataparser fancy",
    ),
]
EDIT = [
    ("no scene", lambda p: ["edit", p.tmp / "gone", "--box", EVERYWHERE], "there is no scene folder"),
    ("a capture", lambda p: ["edit", p.capture, "--box", EVERYWHERE], "it looks like a capture"),
    ("nowhere", lambda p: ["edit", p.scene], "say where"),
    (
        "a mesh that is an unset variable",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--mesh", ""],
        "argument --mesh: it is empty",
    ),
    (
        "a name of two lines",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--name", "a\nb"],
        "name must be one line",
    ),
    (
        "a mesh with a NUL in its name",
        lambda p: ["edit", p.scene, "--recipe", p.file("r.yaml", 'region: {mesh: "a\\0.ply"}')],
        "cannot be the name of a file",
    ),
    ("mask without view", lambda p: ["edit", p.scene, "--mask", p.mask()], "write it as VIEW=PNG"),
    ("mask gone", lambda p: ["edit", p.scene, "--mask", f"000={p.tmp}/gone.png"], "there is no file"),
    ("a stroke without a photograph", lambda p: ["edit", p.scene, "--heal", p.mask()], "--heal"),
    (
        "a stroke as large as a thing",
        lambda p: ["edit", p.scene, "--heal", f"000={p.mask()}"],
        "healing is for scratches",
    ),
    (
        "two masks for one photograph",
        lambda p: ["edit", p.scene, "--mask", f"000={p.mask()}", "--mask", f"images/000.png={p.mask()}"],
        "two masks for images/000.png",
    ),
    (
        "the same view twice",
        lambda p: ["edit", p.scene, "--mask", f"000={p.mask()}", "--mask", f"000={p.mask()}"],
        "names the photograph 000 twice",
    ),
    ("unknown view", lambda p: ["edit", p.scene, "--mask", f"099={p.mask()}"], "has no photograph 099"),
    (
        "mask of another size",
        lambda p: ["edit", p.scene, "--mask", f"000={p.mask(size=(96, 72))}"],
        "96x72 pixels but its photograph is 48x36",
    ),
    ("empty mask", lambda p: ["edit", p.scene, "--mask", f"000={p.mask('nothing')}"], "is empty"),
    (
        "full mask",
        lambda p: ["edit", p.scene, "--mask", f"000={p.mask('everything')}"],
        "covers the whole image",
    ),
    (
        "mask is text",
        lambda p: ["edit", p.scene, "--mask", f"000={p.file('a.png', b'white')}"],
        "not an image",
    ),
    (
        "masks of different things",
        lambda p: [
            *("edit", p.scene),
            *("--mask", f"000={p.mask('left', name='a.png')}"),
            *("--mask", f"001={p.mask('right', name='b.png')}"),
        ],
        "do not meet in space",
    ),
    ("no mesh", lambda p: ["edit", p.scene, "--mesh", p.tmp / "gone.ply"], "there is no file"),
    (
        "mesh of another kind",
        lambda p: ["edit", p.scene, "--mesh", p.file("a.blend", b"x")],
        "these can be read",
    ),
    ("broken mesh", lambda p: ["edit", p.scene, "--mesh", p.file("a.ply", b"ply\nformat")], "a.ply"),
    (
        "pose without numbers",
        lambda p: ["edit", p.scene, "--mesh", p.capture / "object.ply", "--pose", "up=1,2,3"],
        "no term 'up'",
    ),
    (
        "short pose",
        lambda p: ["edit", p.scene, "--mesh", p.capture / "object.ply", "--pose", "1 0 0"],
        "16 numbers",
    ),
    (
        "pose of nothing",
        lambda p: ["edit", p.scene, "--pose", "scale=2"],
        "--pose says where the mesh of --mesh stands",
    ),
    ("short box", lambda p: ["edit", p.scene, "--box", "0,0,0,1,1"], "6 or 9 numbers"),
    ("box of words", lambda p: ["edit", p.scene, "--box", "here"], "--box: 'here' is not a number"),
    ("flat box", lambda p: ["edit", p.scene, "--box", "0,0,0,1,0,1"], "above 0"),
    ("negative dilation", lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--dilate", "-1"], "at least 0"),
    ("box around all", lambda p: ["edit", p.scene, "--box", EVERYWHERE], "contains 12 of the cameras"),
    (
        "box far off",
        lambda p: ["edit", p.scene, "--box", "-90,0,0,1,1,1"],
        "the region lies outside the scene: it is around (-90, 0, 0), the scene around (",
    ),
    (
        "text without a model",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--prompt", "a hat", "--model", "no-such"],
        "there is no model 'no-such'",
    ),
    (
        "no reference",
        lambda p: [
            "edit",
            p.scene,
            "--box",
            EVERYWHERE,
            "--reference",
            p.tmp / "gone.png",
            "--inpainter",
            "fill",
        ],
        "there is no file",
    ),
    (
        "unknown inpainter",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter", "magic"],
        "there is no inpainter 'magic': use one of clear, diffusion, fill, mesh",
    ),
    (
        "mesh inpainter without a mesh",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter", "mesh"],
        "needs a mesh to paint",
    ),
    (
        "no module",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter", "no_such_module:Own"],
        "there is no module no_such_module",
    ),
    (
        "module without the class",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter", p.inpainter("x = 1")],
        "has no Own",
    ),
    (
        "module that fails",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter", p.inpainter("1 / 0")],
        "fails on import: ZeroDivisionError",
    ),
    (
        "class that paints nothing",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter", p.inpainter("class Own: pass")],
        "has no method inpaint",
    ),
    (
        "unknown option",
        lambda p: [
            "edit",
            p.scene,
            "--box",
            EVERYWHERE,
            "--inpainter",
            "fill",
            "--inpainter-option",
            "color=red",
        ],
        "does not take these options",
    ),
    (
        "option without value",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--inpainter-option", "color"],
        "write it as KEY=VALUE",
    ),
    (
        "negative seed",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--seed", "-1"],
        "--seed: -1 is not between",
    ),
    ("no recipe", lambda p: ["edit", p.scene, "--recipe", p.tmp / "gone.yaml"], "there is no file"),
    (
        "recipe is no YAML",
        lambda p: ["edit", p.scene, "--recipe", p.file("r.yaml", "a: [")],
        "not valid YAML",
    ),
    (
        "recipe with a typing mistake",
        lambda p: ["edit", p.scene, "--recipe", p.file("r.yaml", "region: {bocks: 1}")],
        "exactly one of points, masks, heal, mesh, box",
    ),
    (
        "recipe with an unknown key",
        lambda p: ["edit", p.scene, "--recipe", p.file("r.yaml", "regoin: {}")],
        "did you mean region?",
    ),
    (
        "newer recipe",
        lambda p: ["edit", p.scene, "--recipe", p.file("r.yaml", "format: 9")],
        "update NeRF-Insert",
    ),
    (
        "recipe saved over a picture",
        lambda p: ["edit", p.scene, "--box", EVERYWHERE, "--save-recipe", p.mask()],
        "is something else",
    ),
    ("preview of nothing", lambda p: ["preview", p.scene], "say where"),
    (
        "preview into a file",
        lambda p: ["preview", p.scene, "--box", EVERYWHERE, "--out", p.file("f")],
        "is a file, a folder is needed",
    ),
]
RENDER = [
    ("no cameras", lambda p: ["render", p.scene, "--out", p.new], "--split --cameras --orbit is required"),
    (
        "two kinds of cameras",
        lambda p: ["render", p.scene, "--orbit", "--split", "test", "--out", p.new],
        "not allowed with",
    ),
    (
        "no camera file",
        lambda p: ["render", p.scene, "--cameras", p.tmp / "gone.json", "--out", p.new],
        "there is no file",
    ),
    (
        "no cameras in the file",
        lambda p: ["render", p.scene, "--cameras", p.file("c.json", "{}"), "--out", p.new],
        "holds no cameras",
    ),
    (
        "a picture larger than any memory",
        lambda p: [
            *("render", p.scene, "--out", p.new, "--cameras"),
            p.file("c.json", json.dumps({**LOOK, "render_width": 10**6, "render_height": 10**6})),
        ],
        "1000000x1000000 pixels large",
    ),
    ("another video", lambda p: ["render", p.scene, "--orbit", "--out", p.tmp / "a.avi"], "written as .mp4"),
    (
        "depth in a video",
        lambda p: ["render", p.scene, "--orbit", "--depth", "--out", p.tmp / "a.mp4"],
        "--depth is written as images",
    ),
    (
        "no such layer",
        lambda p: ["render", p.scene, "--orbit", "--layers", "1", "--out", p.new],
        "has no layer 1",
    ),
    (
        "layers and none",
        lambda p: ["render", p.scene, "--orbit", "--before", "--layers", "1", "--out", p.new],
        "give one of them",
    ),
    (
        "radius of no orbit",
        lambda p: ["render", p.scene, "--split", "test", "--radius", "2", "--out", p.new],
        "--radius is for --orbit",
    ),
    (
        "over the photographs",
        lambda p: ["render", p.scene, "--split", "test", "--out", p.capture / "images"],
        "a part of the capture",
    ),
    (
        "video in a file",
        lambda p: ["render", p.scene, "--orbit", "--out", p.file("f") / "a.mp4"],
        "is a file",
    ),
]
LAYERS = [
    (
        "enable what",
        lambda p: ["layers", p.scene, "enable"],
        "`nerf-insert layers SCENE enable N`",
    ),
    ("enable a word", lambda p: ["layers", p.scene, "enable", "chair"], "'chair' is not a whole number"),
    ("no new name", lambda p: ["layers", p.scene, "rename", "1"], "nerf-insert layers SCENE rename N NAME"),
    ("rename nothing", lambda p: ["layers", p.scene, "rename", "2", "hat"], "has no layer 2: it has none"),
    ("enable nothing", lambda p: ["layers", p.scene, "enable", "1"], "has no layer 1: it has none"),
    ("unknown action", lambda p: ["layers", p.scene, "explode"], "invalid choice: 'explode'"),
    ("nothing to undo", lambda p: ["layers", p.scene, "undo"], "nothing to undo"),
    ("newer scene", lambda p: ["layers", p.scene_with(format=99)], "written by a newer NeRF-Insert"),
    ("damaged scene", lambda p: ["layers", p.scene_with(layers=[{"fold": "x"}])], "is damaged"),
    ("no scene.json", lambda p: ["layers", p.tmp], "it has no scene.json"),
    (
        "lost capture",
        lambda p: ["eval", p.scene_with(capture={"path": "/gone", "relative": "gone", "dataparser": None})],
        "the capture of",
    ),
]
EVAL = [
    ("no truth", lambda p: ["eval", p.scene, "--truth", p.tmp / "gone"], "there is no folder"),
    ("truth of others", lambda p: ["eval", p.scene, "--truth", p.tmp], "has no image for images/003.png"),
    (
        "masks of nothing",
        lambda p: ["eval", p.scene, "--object-mask", p.capture / "object_mask"],
        "--object-mask needs --truth",
    ),
    (
        "truth of another size",
        lambda p: ["eval", p.scene, "--truth", p.mask(size=(20, 20), name="003.png").parent],
        "20x20 pixels but its photograph is 48x36",
    ),
]
CASES = [*GENERAL, *TRAIN, *EDIT, *RENDER, *LAYERS, *EVAL]


def snapshot(*folders):
    """Every file below the folders with its size and time of change, the editing lock left out."""
    files = [file for folder in folders for file in sorted(Path(folder).rglob("*")) if file.name != ".lock"]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()}


@pytest.mark.parametrize(("make", "message"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_bad_input_gets_a_sentence(tiny_folder, tmp_path, monkeypatch, capsys, make, message):
    monkeypatch.chdir(tmp_path)
    words = [str(word) for word in make(Place(tmp_path, tiny_folder))]
    before = snapshot(tiny_folder, tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err and "this is a bug" not in err
    assert out == ""
    after = snapshot(tiny_folder, tmp_path)
    assert {name: state for name, state in after.items() if "__pycache__" not in name} == before
    assert os.path.exists(tmp_path / "new") is False


def test_machines_get_the_same_sentence(tiny_folder, capsys):
    assert main(["layers", str(tiny_folder / "scene"), "enable", "4", "--json"]) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["ok"] is False and "has no layer 4" in answer["error"] and err == ""
    assert main(["layers", "--json"]) == 2  # argparse's own messages too
    assert "SCENE" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("[view.image[:2] for view in views]", "returned (2, 48, 3) for images/"),
        ("[view.image for view in views][1:]", "views and returned"),
        ("None", "returned NoneType"),
        ("[view.image.numpy() for view in views]", "returned ndarray"),
        ("[view.image.byte() for view in views]", "not finite numbers"),
        ("[view.image * float('nan') for view in views]", "not finite numbers"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_inpainter_that_gives_back_nonsense_is_named(
    scene_folder, tmp_path, monkeypatch, capsys, returned, message
):
    """Exit code 1: it was not the person's input. The scene keeps the layers that it had."""
    monkeypatch.chdir(tmp_path)
    code = f"class Own:\n    def inpaint(self, views, guide, *, strength, seed):\n        return {returned}\n"
    name = Place(tmp_path, tmp_path).inpainter(code)
    assert main(["edit", str(scene_folder), "--box", "0,0,0.3,0.6,0.6,0.6", "--inpainter", name]) == 1
    err = capsys.readouterr().err
    assert message in err and name in err and "Traceback" not in err
    assert json.loads((scene_folder / "scene.json").read_text())["layers"] == []
