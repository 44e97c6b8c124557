"""Make the files of first_version/ with the version before (NeRF-Insert at commit b096d6e), and with that only.

    cd ANYWHERE; OLD/.venv/bin/python make.py [FOLDER]        FOLDER: /tmp/first_version unless said

It uses names of that version's modules, and its tests/support for the tiny scene. Everything is made with
FOLDER as the current folder and with relative paths where the formats allow them. Takes a few minutes.

Small fields: the base's size is its own business (its file says it). A layer's is the constant LAYER_FIELD of
nerf_insert.preparing, which is replaced by SMALL here; the files of layers say their size, too, and so do the
rounds of an unfinished edit and the checkpoints of nerfstudio, so that all of them open without this.
"""

import contextlib
import fnmatch
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import nerf_insert

OLD = Path(nerf_insert.__file__).parents[1]
sys.path.insert(0, str(OLD / "tests" / "support"))
import torch

COMMIT = "b096d6e"
SIZE, VIEWS, TEST = (32, 24), 10, (3, 8)
BASE_FIELD = dict(n_levels=6, log2_hashmap_size=10, base_resolution=8, max_resolution=64, width=32)
SMALL = dict(n_levels=4, log2_hashmap_size=8, base_resolution=8, max_resolution=32, width=16)
SMALL |= dict(view_dependent=False, head_width=16, head_layers=1)
RUNS = ["--output-dir", "nerfstudio", "--experiment-name", "e", "--machine.device-type", "cpu"]
RUNS += ["--vis", "tensorboard", "--viewer.quit-on-train-completion", "True"]
TINY = {"implementation": "torch", "log2_hashmap_size": 8, "num_levels": 3, "max_res": 64, "hidden_dim": 16}
TINY |= {"hidden_dim_color": 16, "num_proposal_samples_per_ray": (16, 12), "num_nerf_samples_per_ray": 8}
TINY["proposal_net_args_list"] = [
    {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 3, "max_res": 32, "use_linear": False},
    {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 3, "max_res": 48, "use_linear": False},
]
TINY["appearance_embed_dim"] = 4
TEST_VIEWS = [f"images/{k:03d}.png" for k in TEST]


def small_layers():
    """Edits of this process make small layers."""
    import nerf_insert.preparing
    from nerf_insert.fields import FieldConfig

    nerf_insert.preparing.LAYER_FIELD = FieldConfig(**SMALL)


# --- commands


def command(*words):
    """`nerf-insert WORDS --json` in this process; what it prints."""
    from nerf_insert.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*map(str, words), "--json"])
    if code:
        raise SystemExit(f"{words}: {code} {out.getvalue()}")
    return json.loads(out.getvalue())


def child(name, *words, kill=None, small=True):
    """A command in a process of its own. `kill`: a pattern of file names and a number: SIGKILL once the nth
    such file is in its place; for ns-train the number of steps, after whose checkpoint it is killed."""
    env = {**os.environ, "KILL": json.dumps(kill), "SMALL": str(int(small)), "COLUMNS": "200"}
    env |= {"TORCH_HOME": str(Path("no-weights").absolute()), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, __file__, "--as", name, *map(str, words)], env=env, text=True,
                          capture_output=True)  # fmt: skip
    if done.returncode != (-9 if kill else 0):
        raise SystemExit(f"{name} {words}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


def be(name, words):
    """In the process of `child`."""
    kill = json.loads(os.environ["KILL"])
    if os.environ["SMALL"] == "1":
        small_layers()
    if name == "nerf-insert":
        from nerf_insert import checkpoints
        from nerf_insert.cli import main

        if kill:
            checkpoints.EVERY = 0.0  # the state of the fit is saved after every step
            replace, seen = os.replace, []

            def perhaps_the_last(source, target):
                replace(source, target)
                seen.extend([target] if fnmatch.fnmatch(str(target), kill[0]) else [])
                if len(seen) == kill[1]:
                    os.kill(os.getpid(), 9)

            os.replace = perhaps_the_last
        return main(words)
    if words[0] == "nerf-insert-base":  # what rays have seen is random numbers, which do not compress
        from nerf_insert.plugin import base_model

        base_model.FIRST_RAYS = 8
    if kill:
        from nerfstudio.engine.trainer import Trainer

        save = Trainer.save_checkpoint

        def save_and_die(self, step):
            save(self, step)
            if "growing" in self.pipeline.state_dict() and step >= kill:
                os.kill(os.getpid(), 9)

        Trainer.save_checkpoint = save_and_die
    from nerfstudio.scripts import eval, train

    sys.argv = [name, *words]
    return (eval if name == "ns-eval" else train).entrypoint()


# --- the parts


def make_capture():
    import tiny
    import trimesh

    tiny.SIZE, tiny.VIEWS, tiny.TEST = SIZE, VIEWS, TEST

    def cameras():
        found = []
        for index in range(VIEWS):
            angle, height = 2 * math.pi * index / VIEWS, 0.9 + 0.5 * (index % 2)
            eye = (1.7 * math.cos(angle), 1.7 * math.sin(angle), height)
            found.append(tiny.look_at(eye, (0.1, -0.1, 0.15), SIZE, focal=32.0))
        return found

    tiny.tiny_cameras = cameras
    tiny.tiny_capture(Path("capture"))
    ball = trimesh.creation.icosphere(subdivisions=2, radius=tiny.OBJECT[3])  # fewer faces
    ball.apply_translation(tiny.OBJECT[:3])
    ball.visual.vertex_colors = [int(255 * value) for value in tiny.OBJECT[4]] + [255]
    ball.export(Path("capture/object.ply"))


def make_scene():
    """The base, a mesh that is inserted, a ball that is removed; three changes that can be undone."""
    import tiny

    from nerf_insert.capture import Capture
    from nerf_insert.fields import FieldConfig
    from nerf_insert.scene import Scene

    tiny.FieldConfig = lambda **_: FieldConfig(**BASE_FIELD)
    capture = Capture.load("capture")
    Scene.create("scene", capture, tiny.tiny_base(capture, steps=500))
    small_layers()
    rays = ["--steps", "300"]
    command("edit", "scene", "--mesh", "recipes/object.ply", "--dilate", "0.04", "--seed", "3", *rays,
            "--save-recipe", "recipes/mesh.yaml")  # fmt: skip
    masks = [word for k in (0, 2, 5, 7) for word in ("--mask", f"images/{k:03d}.png=recipes/masks/{k:03d}.png")]
    command("edit", "scene", *masks, "--dilate", "0.05", "--inpainter", "fill", "--name", "no ball", "--seed", "4",
            "--inpainter-option", "planes=2", *rays, "--save-recipe", "recipes/fill.yaml")  # fmt: skip
    command("layers", "scene", "rename", 1, "blue ball")
    command("layers", "scene", "disable", 2)
    command("layers", "scene", "enable", 2)


def make_masks():
    """Of the red ball, for recipes; and the other files that recipes name."""
    from analytic import AnalyticField
    from tiny import BALL, tiny_cameras

    from nerf_insert.pictures import read_picture, write_picture
    from nerf_insert.rendering import Stack

    ball = Stack(AnalyticField([BALL], floor=False, step=0.02))
    for k in (0, 2, 5, 7):
        write_picture(Path(f"recipes/masks/{k:03d}.png"), ball.picture(tiny_cameras()[k]).accumulation > 0.5)
    for name in ("000", "005"):
        write_picture(Path(f"recipes/look-{name}.png"), read_picture(Path(f"capture/truth/{name}.png"))[0])
    shutil.copy("capture/truth/004.png", "recipes/approved-004.png")
    shutil.copy("capture/object.ply", "recipes/object.ply")


def make_recipes():
    """Together they have every key of the format."""
    from nerf_insert.capture import Capture
    from nerf_insert.files import write_json
    from nerf_insert.placing import build_region
    from nerf_insert.recipe import Recipe
    from nerf_insert.regions import load_region  # noqa: F401

    here = Path("recipes").absolute()
    file = lambda name: str(here / name)  # noqa: E731
    box = {"box": {"centre": [0.5, -0.4, 0.25], "size": [0.5, 0.6, 0.5], "rotation": [0.0, 0.0, 30.0]}}
    plain_box = {"box": {"centre": [0.0, 0.0, 0.3], "size": [0.6, 0.6, 0.6]}}
    masks = {"masks": {f"images/{k:03d}.png": file(f"masks/{k:03d}.png") for k in (0, 2, 5, 7)}}
    pose = [[0.5, 0.0, 0.0, 0.2], [0.0, 0.5, 0.0, 0.1], [0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]
    mesh = {"mesh": file("object.ply"), "pose": pose, "dilate": 0.05}
    tree = [masks, mesh, {"intersection": [box, {"dilate": {"region": plain_box, "by": 0.3}}]}]
    everything = {
        "format": 1,
        "region": {"union": tree},
        "guide": {
            "prompt": "a blue ball",
            "negative_prompt": "a shadow",
            "reference": [file("look-000.png"), file("look-005.png")],
            "mesh": file("object.ply"),
            "pose": pose,
        },
        "inpainter": "diffusion",
        "inpainter_options": {"model": "sd15", "steps": 20, "guidance": 7.5, "memory": "auto"},
        "schedule": {
            "rounds": 4,
            "steps": 240,
            "rays": 512,
            "strength": 0.9,
            "fall": 0.3,
            "shell": 0.04,
            "view_dependent": True,
            "min_share": 0.002,
            "anchors": 3,
            "repaint": "all",
            "share_seed": False,
            "match_colours": True,
            "match_shapes": False,
            "weigh": True,
        },
        "name": "everything at once",
        "seed": 11,
        "approved": {"images/004.png": file("approved-004.png")},
    }
    one = {
        "region": mesh,
        "guide": {"reference": file("look-000.png"), "mesh": file("object.ply"), "pose": pose},
        "inpainter": "mesh",
        "inpainter_options": {"light": {"direction": [0.3, 0.2, 1.0], "key": [1.0, 1.0, 0.9]}, "shadows": False},
        "schedule": {"repaint": "none", "match_shapes": True, "weigh": False, "match_colours": False},
        "name": "one reference",
        "seed": 2,
    }
    last = {
        "region": masks,
        "inpainter": "fill",
        "inpainter_options": {"planes": 2, "keep_seen": True},
        "schedule": {"repaint": "doubted", "anchors": 0, "view_dependent": False},
        "name": "masks alone",
    }
    # fitted as to pictures that contradict one another, so that corrections are kept between its rounds
    unfinished = {
        "region": box,
        "inpainter": "fill",
        "inpainter_options": {"planes": 2},
        "schedule": {
            **{"rounds": 2, "steps": 16, "rays": 32, "strength": 0.9, "fall": 0.2, "shell": 0.05},
            **{"min_share": 0.002, "anchors": 3, "repaint": "all", "share_seed": False},
            **{"view_dependent": True, "match_colours": True, "match_shapes": True, "weigh": True},
        },
        "name": "half done",
        "seed": 5,
        "approved": {"images/004.png": file("approved-004.png")},
    }
    painting = {
        "region": {"dilate": {"region": plain_box, "by": 0.02}},
        "inpainter": "fill",
        "schedule": {"rounds": 1, "steps": 8, "rays": 64},
        "name": "hardly begun",
        "seed": 6,
    }
    for name, data in (
        ("everything", everything),
        ("one-reference", one),
        ("masks", last),
        ("defaults", {"region": box}),
        ("unfinished", unfinished),
        ("unfinished-painting", painting),
    ):
        Recipe.from_dict(data).save(here / f"{name}.yaml")
    prints = {path.name: Recipe.load(path).fingerprint() for path in sorted(here.glob("*.yaml"))}
    write_json(here / "fingerprints.json", prints)
    # what the regions are, and how they are kept
    capture = Capture.load("capture")
    points = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    points = points * torch.tensor([1.6, 1.6, 0.9]) - torch.tensor([0.6, 0.9, 0.1])
    inside = {}
    for path in sorted(here.glob("*.yaml")):
        region = build_region(Recipe.load(path).region, capture)
        home = Path("regions") / path.stem
        write_json(home / "region.json", region.save(home))
        inside[path.stem] = {
            "bounds": region.bounds.tolist(),
            "inside": region.contains(points).nonzero()[:, 0].tolist(),
        }
    rule = "torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) * [1.6, 1.6, 0.9] - [0.6, 0.9, 0.1]"
    write_json(Path("regions/inside.json"), {"points": rule, "regions": inside})


def summary(field: Path):
    """What is in a file of tensors, for comparing."""
    from nerf_insert.files import read_tensors

    tensors, metadata = read_tensors(field)
    rows = {
        name: {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "mean": float(tensor.double().mean()),
            "norm": float(tensor.double().norm()),
        }
        for name, tensor in sorted(tensors.items())
    }
    return {"sha256": hashlib.sha256(field.read_bytes()).hexdigest(), "metadata": metadata, "tensors": rows}


def make_unfinished():
    """Killed in the middle of the second round's fit; and while views were painted. What became of both."""
    from nerf_insert.files import write_json
    from nerf_insert.scene import Scene

    layers = len(Scene.open("scene").layers)
    for name, recipe, kill, small in (
        ("unfinished", "recipes/unfinished.yaml", ("*/checkpoint.safetensors", 12), True),
        ("unfinished-painting", "recipes/unfinished-painting.yaml", ("*/painted/*.png", 5), False),
    ):
        shutil.copytree("scene", name)
        child("nerf-insert", "edit", name, "--recipe", recipe, kill=kill, small=small)
        assert len(Scene.open(name).layers) == layers
        shutil.copytree(name, "finished")
        # without small layers: what goes on has its size from what is there
        done = child("nerf-insert", "edit", "finished", "--recipe", recipe, "--json", small=False)
        said = json.loads(done.stdout)
        assert said["made"] and "Going on with the edit" in done.stderr, done.stderr
        scene = Scene.open("finished")
        assert len(scene.layers) == layers + 1
        home = scene.layer_folder(scene.layers[-1])
        out = Path("unfinished-results") / name
        out.mkdir(parents=True)
        whole = summary(home / "field.safetensors")
        files = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
        rounds = json.loads((home / "rounds.json").read_text())["rounds"]
        write_json(out / "summary.json", {"folder": home.name, "files": files, "rounds": rounds, **whole})
        (out / "finished-field.sha256").write_text(f"{whole['sha256']}  field.safetensors\n")
        if name == "unfinished":
            shutil.copy(home / "field.safetensors", out / "field.safetensors")
        save_renders(out / "renders.safetensors", {"with-layers": scene.stack()}, scene.capture)
        shutil.rmtree("finished")
    shutil.copy("unfinished-results/unfinished/field.safetensors", "unfinished-result.safetensors")
    (Path("unfinished-results/unfinished/field.safetensors")).unlink()


def save_renders(path, stacks, capture, names=TEST_VIEWS):
    from nerf_insert.files import write_tensors

    tensors = {}
    for which, stack in stacks.items():
        for name in names:
            picture = stack.picture(capture.view(name).camera)
            for part, tensor in picture._asdict().items():
                tensors[f"{which}/{Path(name).stem}/{part}"] = tensor.float()
    write_tensors(path, tensors)


def make_renders():
    from nerf_insert.files import write_json
    from nerf_insert.scene import Scene

    scene = Scene.open("scene")
    stacks = {"with-layers": scene.stack(), "base": scene.stack(with_layers=False)}
    save_renders(Path("renders/scene.safetensors"), stacks, scene.capture)
    os.environ["TORCH_HOME"] = str(Path("no-weights").absolute())
    write_json("renders/layers.json", command("layers", "scene"))
    write_json("renders/eval.json", command("eval", "scene"))
    write_json("renders/eval-truth.json", command("eval", "scene", "--split", "all", "--truth", "capture/truth",
                                                  "--object-mask", "capture/object_mask"))  # fmt: skip


def make_base_run():
    """`ns-train nerf-insert-base`, and the scene that it becomes."""
    from nerf_insert.files import write_json
    from nerf_insert.scene import Scene

    size = {"num-levels": 4, "log2-hashmap-size": 8, "base-res": 8, "max-res": 32, "hidden-dim": 16}
    size |= {"samples-per-batch": 512, "training-steps": 3}
    flags = [word for name, value in size.items() for word in (f"--pipeline.model.{name}", value)]
    child("ns-train", "nerf-insert-base", *RUNS, "--timestamp", "run", "--max-num-iterations", 3, *flags,
          "--steps-per-eval-batch", 10**9, "--data", "capture")  # fmt: skip
    run = "nerfstudio/e/nerf-insert-base/run"
    said = command("train", "--nerfstudio", f"{run}/config.yml", "--out", "adopted-base")
    scene = Scene.open("adopted-base")
    save_renders(Path("renders/adopted-base.safetensors"), {"base": scene.stack()}, scene.capture, TEST_VIEWS[:1])
    write_json("renders/adopted-base.json", said)
    shutil.rmtree("adopted-base")


def make_edit_runs():
    """`ns-train nerf-insert` on the scene, to its end; and killed while the layer grows, with what becomes of
    it when it goes on."""
    from nerf_insert.scene import Scene

    edit = ["--pipeline.edit.box", "0.5", "-0.4", "0.25", "0.5", "0.5", "0.5", "--pipeline.edit.inpainter", "fill"]
    edit += ["--pipeline.edit.steps", "30", "--pipeline.edit.rays", "128", "--pipeline.edit.seed", "8"]
    common = ["nerf-insert", *RUNS, "--pipeline.scene", "scene", "--data", "capture", *edit]
    child("ns-train", *common, "--timestamp", "run", "--pipeline.edit.name", "in nerfstudio")
    child("ns-train", *common, "--timestamp", "killed", "--pipeline.edit.name", "killed in nerfstudio",
          "--steps-per-save", 10, kill=20)  # fmt: skip
    models = Path("nerfstudio/e/nerf-insert/killed/nerfstudio_models")
    child("ns-train", "nerf-insert", *RUNS, "--timestamp", "resumed", "--load-dir", models, small=False)
    for name in ("run", "resumed"):
        scene = Scene.open(f"nerfstudio/e/nerf-insert/{name}/scene")
        assert len(scene.layers) == 3, scene.layers
        save_renders(Path(f"renders/nerf-insert-{name}.safetensors"), {"with-layers": scene.stack()}, scene.capture,
                     TEST_VIEWS[:1])  # fmt: skip
        home = scene.layer_folder(scene.layers[-1])
        from nerf_insert.files import write_json

        write_json(f"renders/nerf-insert-{name}-field.json", summary(home / "field.safetensors"))
    shutil.rmtree("nerfstudio/e/nerf-insert/resumed")
    child("ns-eval", "--load-config", "nerfstudio/e/nerf-insert/run/config.yml", "--output-path",
          "renders/ns-eval.json")  # fmt: skip


def make_nerfacto():
    """A run of nerfacto with random weights, written by nerfstudio's Trainer; the scene that it becomes."""
    import runs

    from nerf_insert.files import write_json
    from nerf_insert.scene import Scene

    os.environ["TORCH_HOME"] = str(runs.offline_lpips(Path("weights").absolute()))
    runs.made_run(Path("nerfstudio"), Path("capture"), **TINY)
    shutil.rmtree("weights")
    strip_lpips(next(Path("nerfstudio/e/nerfacto/run/nerfstudio_models").glob("*.ckpt")))
    said = command("train", "--nerfstudio", "nerfstudio/e/nerfacto/run/config.yml", "--out", "adopted")
    write_json("renders/adopted.json", said)
    scene = Scene.open("adopted")
    save_renders(Path("renders/adopted.safetensors"), {"base": scene.stack()}, scene.capture, TEST_VIEWS[:1])


def make_page():
    """What the web page keeps in a scene folder: a draft, and jobs that were stopped, with the words that they
    would go on with. By itself, so that it can be copied to scene/page."""
    from dataclasses import asdict

    from nerf_insert.app.drafts import Box, Drafts, Placing
    from nerf_insert.app.job import Job
    from nerf_insert.app.recipes import recipe_of
    from nerf_insert.files import write_json
    from nerf_insert.recipe import Recipe

    key, drafts = "firstversion", Drafts(Path("paged/page").absolute())
    for k in (0, 5):
        drafts.set_mask(key, f"images/{k:03d}.png", Path(f"recipes/masks/{k:03d}.png").read_bytes())
    placing = Placing((0.1, -0.2, 0.05), (10.0, 0.0, -45.0), 0.7)
    drafts.set_mesh(key, Path("recipes/object.ply"), placing)
    drafts.change(key, box=Box((0.5, -0.4, 0.25), (0.5, 0.6, 0.5), (0.0, 0.0, 30.0)))
    drafts.keep(key, "images/004.png", Path("recipes/approved-004.png"), "004.png")
    said = {"prompt": "a ball", "negative_prompt": "a shadow", "inpainter": "fill", "options": {"planes": 2}}
    said |= {"name": "drafted", "seed": 7, "steps": 60, "rounds": 2, "shell": 0.02, "view_dependent": True}
    draft = drafts.change(key, **said, dilate=0.05)
    recipe_of(draft, drafts, key).save(Path("paged/page/drafts") / key / "recipe.yaml")
    jobs = {
        "edit": ["edit", "scene", "--recipe", "{}/recipe.yaml"],
        "preview": ["preview", "scene", "--recipe", "{}/recipe.yaml", "--out", "{}/out", "--paint", "2"],
        "render": ["render", "scene", "--orbit", "--out", "{}/out/orbit.mp4", "--seconds", "4.0", "--fps", "15"],
        "export": ["export", "scene", "nerfstudio", "--out", "{}/out"],
        "train": ["train", "capture", "--out", "scene", "--steps", "1500"],
    }
    for number, (kind, words) in enumerate(jobs.items()):
        name = f"20250101-00000{number}-00000{number}"
        words = [word.format(f"scene/page/jobs/{name}") for word in words]
        job = Job(name, kind, f"A job: {kind}", words, state="stopped", created=1735689600.0 + number)
        folder = Path("paged/page/jobs") / name
        write_json(folder / "job.json", asdict(job))
        if kind in ("edit", "preview"):  # as nerf_insert.app.steps keeps it
            (folder / "recipe.yaml").parent.mkdir(parents=True, exist_ok=True)
            recipe = Recipe.load("recipes/unfinished-painting.yaml").copied_into(folder)
            recipe.save(folder / "recipe.yaml")
    os.replace("paged/page", "page")
    os.rmdir("paged")


def make_training_notes():
    """What a training's checkpoint compares, to know whether it is the same training; the checkpoint itself is
    too large for test data."""
    from nerf_insert.capture import Capture
    from nerf_insert.fields import FieldConfig
    from nerf_insert.files import write_json
    from nerf_insert.training import TrainConfig, gather_pixels

    pictures = hashlib.sha256(gather_pixels(Capture.load("capture")).colours.numpy()).hexdigest()
    config = TrainConfig(steps=6, samples=2048)
    same = {"config": str(config), "field": str(FieldConfig()), "pictures": pictures}
    write_json("renders/training-same.json", {"command": "train capture --steps 6 --samples 2048", "same": same})


def strip_lpips(file):
    """Ten megabytes of zeros in the place of LPIPS' weights, which no reader of ours looks at."""
    state = torch.load(file, weights_only=False)
    state["pipeline"] = {k: v for k, v in state["pipeline"].items() if ".lpips." not in k}
    torch.save(state, file)


def pack(folder="/tmp/first_version"):
    """FOLDER.tar.xz beside FOLDER; a zip is more than twice as large, since scenes are in it several times."""
    import lzma
    import tarfile

    root = Path(folder)

    def plain(info):
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        return info

    with lzma.open(root.with_name(root.name + ".tar.xz"), "wb", preset=9 | lzma.PRESET_EXTREME) as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            for path in sorted(path for path in root.rglob("*") if path.is_file()):
                archive.add(path, f"first_version/{path.relative_to(root)}", filter=plain)


def main(folder="/tmp/first_version"):
    torch.set_num_threads(1)
    root = Path(folder)
    if root.exists():
        raise SystemExit(f"{root} exists: remove it first")
    root.mkdir(parents=True)
    os.chdir(root)
    for part in (make_capture, make_masks, make_scene, make_recipes, make_renders, make_unfinished, make_nerfacto,
                 make_base_run, make_edit_runs, make_page, make_training_notes):  # fmt: skip
        print(part.__name__, flush=True)
        part()
    for rest in (*root.rglob(".lock"), *root.rglob("events.out.*")):
        rest.unlink()
    shutil.rmtree("no-weights", ignore_errors=True)
    pack(root)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as"]:
        sys.exit(be(sys.argv[2], sys.argv[3:]))
    main(*sys.argv[1:])
