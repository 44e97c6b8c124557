"""The edit loop: what inpainters are given, what becomes of what they give back, and what an edit ends in."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import painters
import pytest
import tiny
import torch
from PIL import Image

from nerf_insert.editing import painting, rounds
from nerf_insert.editing.loop import edit, edit_steps
from nerf_insert.editing.painting import PaintedViews, inpaint_view, known_distances, run_inpainter
from nerf_insert.editing.region_views import RegionView
from nerf_insert.editing.session import prepare
from nerf_insert.errors import InputError, RunError, Stopped
from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.inpaint.api import EditContext, Inpainter, as_inpainter
from nerf_insert.io.files import read_json, read_yaml
from nerf_insert.io.images import read_image, read_mask, to_uint8, write_image
from nerf_insert.regions import BoxRegion
from nerf_insert.regions.spec import RegionSpec
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

SIDE = 0.56  # of a box around tiny.OBJECT, a ball of radius 0.24
BOX = {"box": {"center": [*tiny.OBJECT[:3]], "size": [SIDE] * 3}}
REGION = BoxRegion(tiny.OBJECT[:3], [SIDE] * 3)


def recipe(inpainter="painters:Quick", region=BOX, steps=6, **more):
    schedule = {"steps": steps, "rays": 256, **more.pop("schedule", {})}
    return Recipe.from_dict({"region": region, "inpainter": inpainter, "schedule": schedule, **more})


@pytest.fixture(autouse=True)
def forgetful():
    painters.Green.calls.clear()
    painters.Ready.contexts.clear()


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.said, self.warned = [], []
        self.say, self.warn = self.said.append, self.warned.append


# --- the whole way


@pytest.fixture(scope="module")
def edited(tiny_folder, tmp_path_factory):
    """The tiny scene with the blue ball in it, by an inpainter that knows the truth."""
    import shutil

    folder = Path(shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("edited") / "scene"))
    scene = Scene.open(folder)
    options = {"truth": str(tiny_folder / "capture" / "truth")}
    wanted = recipe(
        "painters:Truth", inpainter_options=options, name="Ball", steps=120, schedule={"rays": 1024}
    )
    edit(scene, wanted, SILENT)
    return folder


def test_what_is_painted_is_there_from_views_never_painted(edited, tiny_folder):
    scene = Scene.open(edited)
    for view in scene.capture.test:
        truth = read_image(tiny_folder / "capture" / "truth" / Path(view.name).name)[0]
        object_ = read_mask(tiny_folder / "capture" / "object_mask" / Path(view.name).name, size=view.size)
        before, after = (scene.stack(with_layers=on).render_image(view.camera) for on in (False, True))
        gained = psnr(after.rgb[object_], truth[object_]) - psnr(before.rgb[object_], truth[object_])
        assert int(object_.sum()) > 40
        assert psnr(after.rgb[object_], truth[object_]) > 24 and gained > 15
        missed = ~REGION.project(view.camera)
        assert all(torch.equal(a[missed], b[missed]) for a, b in zip(after, before, strict=True))


@pytest.mark.usefixtures("coarse_light")
def test_a_mesh_is_inserted(scene_folder, tiny_folder):
    """By the inpainter `mesh`, in flat light as the tiny scene has it."""
    scene, mesh = Scene.open(scene_folder), str(tiny_folder / "capture" / "object.ply")
    wanted = recipe(
        "mesh",
        BOX,
        guide={"mesh": mesh},
        steps=120,
        schedule={"rays": 1024},
        inpainter_options={"light": "flat", "shadows": False, "roughness": 1.0},
    )
    entry = edit(scene, wanted, SILENT)
    assert (
        scene.layer_folder(entry) / Recipe.load(scene.layer_folder(entry) / "recipe.yaml").guide.mesh
    ).exists()
    for view in scene.capture.test:
        truth = read_image(tiny_folder / "capture" / "truth" / Path(view.name).name)[0]
        object_ = read_mask(tiny_folder / "capture" / "object_mask" / Path(view.name).name, size=view.size)
        before, after = (scene.stack(with_layers=on).render_image(view.camera).rgb for on in (False, True))
        assert psnr(after[object_], truth[object_]) > max(15, 8 + psnr(before[object_], truth[object_]))


def test_a_thing_is_removed(scene_folder):
    """By the inpainter `fill`: the ball goes, the floor comes back. The ball has cast no shadow there."""
    scene = Scene.open(scene_folder)
    region = {"box": {"center": [0, 0, 0.28], "size": [0.6, 0.6, 0.62]}}
    wanted = recipe("fill", region, steps=120, schedule={"rays": 1024}, shadow={"kind": "none"})
    edit(scene, wanted, SILENT)
    bare = LayerStack(tiny.TinyField([], step=0.02))
    for view in scene.capture.test:
        truth = bare.render_image(view.camera).rgb
        ball = (
            LayerStack(tiny.TinyField([tiny.BALL], step=0.02)).render_image(view.camera).rgb - truth
        ).abs().amax(-1) > 0.02
        before, after = (scene.stack(with_layers=on).render_image(view.camera).rgb for on in (False, True))
        assert psnr(after[ball], truth[ball]) > max(17, 8 + psnr(before[ball], truth[ball]))


def test_what_a_layer_leaves_on_disk(edited, tiny_folder):
    folder = edited / "layers" / "001-ball"
    painted = sorted(path.name for path in (folder / "painted" / "round-0").iterdir())
    names = [Path(view.name).stem for view in Scene.open(edited).capture.train]
    assert painted == [f"{k:04d}-{name}.png" for k, name in enumerate(names)]
    assert {path.name for path in folder.iterdir()} == {
        *("recipe.yaml", "region", "painted", "work.json", "rounds.json", "field.safetensors")
    }
    again = Recipe.load(folder / "recipe.yaml")
    assert (
        again.region.to_dict() == BOX and again.inpainter == "painters:Truth" and again.schedule.steps == 120
    )
    assert read_yaml(folder / "recipe.yaml")["format"] == 2


def test_the_same_recipe_is_not_run_twice(edited, tmp_path):
    scene, told = Scene.open(edited), Told()
    same = Recipe.load(edited / "layers" / "001-ball" / "recipe.yaml")
    assert edit(scene, same, told) == scene.layers[0] and len(scene.layers) == 1
    assert told.said == ["Layer Ball was already made by this recipe; nothing to do."]


# --- what an inpainter is given


@pytest.fixture(scope="module")
def scene(tiny_folder):
    """The shared scene, for what does not change it."""
    return Scene.open(tiny_folder / "scene")


def true_distances(camera):
    """Where rays meet the tiny scene's ball and its floor, and where they enter REGION, in closed form."""
    origins, directions = camera.rays().origins.double(), camera.rays().directions.double()
    towards = torch.tensor(tiny.BALL[:3]).double() - origins
    along = (towards * directions).sum(-1)
    inside = tiny.BALL[3] ** 2 - (towards**2).sum(-1) + along**2
    ball = torch.where(inside > 0, along - inside.clamp_min(0).sqrt(), torch.inf)
    floor = torch.where(directions[:, 2] < 0, -origins[:, 2] / directions[:, 2], torch.inf)
    floor[(origins + floor[:, None].clamp_max(9) * directions)[:, :2].abs().amax(-1) > 1.95] = torch.inf
    ends = torch.stack([(corner - origins) / directions for corner in REGION.bounds])
    enter, leave = ends.amin(0).amax(-1), ends.amax(0).amin(-1)
    region = torch.where(enter < leave, enter, torch.inf)
    shape = camera.height, camera.width
    return torch.minimum(ball, floor).view(shape), region.view(shape)


def test_what_an_inpainter_is_given(scene_folder):
    scene = Scene.open(scene_folder)
    scene.base = tiny.TinyField([tiny.BALL], step=0.02)  # about which all is known
    edit(scene, recipe("painters:Green", seed=5, guide={"prompt": "a hedge"}, schedule={"rounds": 1}), SILENT)
    views = [view for call in painters.Green.calls for view in call[0]]
    assert [len(call[0]) for call in painters.Green.calls] == [8, 4]  # no more than eight at once
    assert [view.name for view in views] == [view.name for view in scene.capture.train]
    assert all(
        (guide.prompt, strength, seed) == ("a hedge", 1.0, 5)
        for _, guide, strength, seed in painters.Green.calls
    )
    off = []
    for view, source in zip(views, scene.capture.train, strict=True):
        photograph = source.photograph()
        assert view.camera is source.camera or torch.equal(view.camera.c2w, source.camera.c2w)
        assert view.mask.shape == view.depth.shape == photograph.shape[:2] and view.mask.dtype == torch.bool
        assert torch.equal(view.original, photograph)
        assert torch.equal(view.image[~view.mask], photograph[~view.mask])
        surface, region = true_distances(view.camera)
        visible = region + 0.02 < surface  # one sample
        assert int(visible.sum()) > 50 and bool(view.mask[visible].all())
        # the mask is wider by 4 percent of the picture's width, half on each side, and not by much more
        reach = torch.nn.functional.max_pool2d(region.isfinite()[None, None].float(), 5, 1, 2)[0, 0] > 0
        assert not bool((view.mask & ~reach).any())
        rendered = LayerStack(scene.base).render_image(view.camera)
        assert torch.equal(view.image[visible], rendered.rgb[visible])
        off.append((view.depth - surface)[surface.isfinite() & view.depth.isfinite()].abs())
    # A sample, and where half of the light is stopped lies a hundredth behind the surface; not at silhouettes
    assert float(torch.cat(off).quantile(0.95)) < 0.04


def green_in_the_region(view):
    """How much of red and blue is left there, of which green has none."""
    surface, region = true_distances(view.camera)
    return float(view.image[region + 0.1 < surface][:, [0, 2]].mean())


def test_rounds_grow_weaker_and_see_what_was_made(scene_folder):
    """Strength 1 - 0.8 sqrt(k / K), as the paper's code has it; rounds start from the last one's layer.
    Without anchors every round paints every view."""
    scene = Scene.open(scene_folder)
    edit(scene, recipe("painters:Green", steps=240, seed=3, schedule={"rounds": 3, "anchors": 0}), SILENT)
    calls = painters.Green.calls
    strengths = [call[2] for call in calls]
    assert strengths == pytest.approx([1.0, 1.0, 0.5381, 0.5381, 0.3468, 0.3468], abs=1e-4)
    assert {call[3] for call in calls} == {3}
    green = [green_in_the_region(calls[first][0][0]) for first in (0, 2, 4)]
    assert green[1] < 0.7 * green[0] and green[2] < 0.7 * green[0]
    folder = scene.layer_folder(scene.layers[0])
    assert sorted(path.name for path in (folder / "painted").iterdir()) == ["round-0", "round-1", "round-2"]
    assert not list(folder.glob("round-*"))


def test_anchors_come_first_and_the_others_are_painted_after_them(scene_folder):
    """The anchors in one call, the others once each from the render of what is there."""
    scene = Scene.open(scene_folder)
    schedule = {"rounds": 3, "anchors": 4, "strength_decay": 0.3}
    edit(scene, recipe("painters:Green", steps=480, schedule=schedule), SILENT)
    calls, again = painters.Green.calls[:2], painters.Green.calls[2:]
    assert [len(call[0]) for call in calls] == [4, 8]
    # So small a layer may miss a view or two. A false alarm costs a painting and no more.
    assert sum(len(call[0]) for call in again) <= 2
    assert [call[2] for call in calls] == pytest.approx([1.0, 1 - 0.3 * (1 / 3) ** 0.5])
    names = [view.name for call in calls for view in call[0]]
    assert sorted(names) == [view.name for view in scene.capture.train]
    green = [sum(map(green_in_the_region, call[0])) / len(call[0]) for call in calls]
    assert green[1] < 0.7 * green[0]
    rounds = read_json(scene.layer_folder(scene.layers[0]) / "rounds.json")["rounds"]
    assert [this["painted"] for this in rounds[:2]] == [names[:4], names[4:]]
    assert rounds[2]["painted"] == [view.name for call in again for view in call[0]]
    assert [this["steps"] for this in rounds] == [120, 120, 240]


def test_a_view_that_contradicts_the_others_is_painted_again(scene_folder, tiny_folder):
    """Once, with a fresh seed and from the render; what is still wrong then is left out of the fit."""
    scene = Scene.open(scene_folder)
    wrong = [scene.capture.train[index].name for index in (2, 7)]
    options = {"truth": str(tiny_folder / "capture" / "truth"), "wrong": wrong}
    wanted = recipe(
        "painters:Liar", inpainter_options=options, steps=360, schedule={"rays": 1024, "rounds": 3}
    )
    entry = edit(scene, wanted, SILENT)
    rounds = read_json(scene.layer_folder(entry) / "rounds.json")["rounds"]
    trust = rounds[2]["trust"]
    doubted = {name for name, value in trust.items() if value < 0.5}
    for found in (set(rounds[2]["painted"]), doubted):  # so small a layer may miss another view as well
        assert set(wrong) <= found and len(found) <= len(wrong) + 1
    assert [trust[name] for name in wrong] == [0, 0]


class Impatient(Progress):
    """Stops the work at its nth report."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def changed(self, task):
        self.left -= 1
        if self.left == 0:
            self.stop()


def test_stopped_in_any_round_and_gone_on_is_never_stopped(scene_folder, tiny_folder):
    """Also while views that contradict the others are painted again: the layer ends with the same bytes."""
    options = {"truth": str(tiny_folder / "capture" / "truth"), "wrong": ["images/004.png", "images/009.png"]}
    wanted = recipe("painters:Liar", inpainter_options=options, steps=40, schedule={"rounds": 3, "rays": 512})
    scene = Scene.open(scene_folder)
    whole = Impatient(0)
    entry = edit(scene, wanted, whole)
    folder = scene.layer_folder(entry)
    field, rounds = ((folder / name).read_bytes() for name in ("field.safetensors", "rounds.json"))
    scene.remove(1)
    stops = 0
    for after in [-whole.left * share // 8 for share in range(1, 8)] + [7, 11, 13, 400]:
        try:
            entry = edit(scene, wanted, Impatient(after), again=True)
            break
        except Stopped:
            stops += 1
    folder = scene.layer_folder(entry)
    assert stops >= 4
    assert (folder / "field.safetensors").read_bytes() == field
    assert (folder / "rounds.json").read_bytes() == rounds


def test_an_edit_by_steps_is_the_edit(scene_folder, tmp_path):
    wanted = recipe(schedule={"rounds": 2})
    whole = edit(Scene.open(scene_folder), wanted, SILENT)
    before = (scene_folder / "layers" / whole.folder / "field.safetensors").read_bytes()
    scene = Scene.open(scene_folder)
    scene.remove(1)
    steps, states = edit_steps(scene, wanted, SILENT, again=True), []
    with pytest.raises(StopIteration) as end:
        while True:
            states.append(next(steps))
    assert end.value.value == scene.layers[0]
    assert (scene.layer_folder(scene.layers[0]) / "field.safetensors").read_bytes() == before
    phases = [(state.phase, state.round) for state in states]
    assert phases == sorted(
        phases, key=lambda at: (at[1], at[0] == "fitting")
    )  # painting, fitting, and again
    assert {state.rounds for state in states} == {2} and len({id(state.layer) for state in states}) == 1
    fits = [state for state in states if state.phase == "fitting"]
    assert len(fits) == 6 and fits[-1].fraction == 1 and all(state.loss > 0 for state in fits)
    paints = [state for state in states if state.phase == "painting"]
    assert paints[-1].fraction == 1 and all(state.loss is None for state in paints)


@pytest.mark.parametrize("stop", ["painting", "fitting"])
def test_a_generator_that_is_closed_keeps_what_resuming_needs(scene_folder, stop):
    """Nothing joins the scene, the lock is released, and the same recipe ends with the same bytes."""
    scene, wanted = Scene.open(scene_folder), recipe("painters:Green", schedule={"rounds": 2})
    entry = edit(scene, wanted, SILENT)
    before = (scene.layer_folder(entry) / "field.safetensors").read_bytes()
    scene.remove(1)
    steps = edit_steps(scene, wanted, SILENT, again=True)
    while next(steps).phase != stop:
        pass
    next(steps)
    with pytest.raises(InputError, match="another NeRF-Insert"), Scene.open(scene_folder).locked():
        pass
    steps.close()
    assert Scene.open(scene_folder).layers == []
    painted = list((scene_folder / "layers").glob("*/painted/*/*.png"))
    times = [file.stat().st_mtime_ns for file in painted]
    painters.Green.calls.clear()
    entry = edit(Scene.open(scene_folder), wanted, SILENT)
    assert painted and [file.stat().st_mtime_ns for file in painted] == times
    folder = Scene.open(scene_folder).layer_folder(entry)
    assert (folder / "field.safetensors").read_bytes() == before


def test_what_an_inpainter_settled_on_is_kept(scene_folder, monkeypatch):
    """An edit that was stopped goes on with it, whatever there is by then, and the layer's recipe says it."""
    scene, wanted, told = Scene.open(scene_folder), recipe("painters:Choosy"), Progress()
    told.changed = lambda task: told.stop() if task.description.startswith("Painting") else None
    with pytest.raises(Stopped):
        edit(scene, wanted, told)
    assert {brush for _, brush, *_ in painters.Green.calls} == {"broad"}
    monkeypatch.setattr(painters.Choosy, "there", "fine")
    painters.Green.calls.clear()
    entry = edit(scene, wanted, SILENT)
    kept = Recipe.load(scene.layer_folder(entry) / "recipe.yaml")
    assert kept.inpainter_options == {"brush": "broad"} and wanted.inpainter_options == {}
    assert {brush for _, brush, *_ in painters.Green.calls} == {"broad"}
    assert edit(scene, wanted, SILENT) == edit(scene, kept, SILENT) == entry  # both are this very edit


def test_calls_get_the_recipes_seed_or_each_its_own(scene_folder):
    scene = Scene.open(scene_folder)
    edit(scene, recipe("painters:Quick", seed=3, schedule={"rounds": 2, "share_seed": False}), SILENT)
    seeds = [call[3] for call in painters.Green.calls]
    assert len(set(seeds)) == len(seeds) == 3
    scene.remove(1)
    painters.Green.calls.clear()
    edit(
        scene,
        recipe("painters:Quick", seed=3, schedule={"rounds": 2, "share_seed": False}),
        SILENT,
        again=True,
    )
    assert [call[3] for call in painters.Green.calls] == seeds


def test_approved_pictures_are_the_anchors(scene_folder, tmp_path):
    """They are used as they are, never painted, and decide what the others are painted from."""
    scene = Scene.open(scene_folder)
    names = [scene.capture.train[index].name for index in (0, 3, 6, 9)]
    blue = torch.tensor([0.0, 0.0, 1.0]).expand(36, 48, 3)
    approved = {}
    for index, name in enumerate(names):
        write_image(tmp_path / f"{index}.png", blue)
        approved[name] = str(tmp_path / f"{index}.png")
    wanted = recipe("painters:Green", steps=240, schedule={"rounds": 2}, approved=approved)
    entry = edit(scene, wanted, SILENT)
    views = [view for call in painters.Green.calls for view in call[0]]
    assert not {view.name for view in views} & set(names) and len({view.name for view in views}) == 8
    surface, region = true_distances(views[0].camera)
    inside = views[0].image[region + 0.1 < surface]
    assert float(inside[:, 2].mean()) > float(inside[:, 1].mean()) + 0.2  # blue, as was approved
    folder = scene.layer_folder(entry)
    kept = Recipe.load(folder / "recipe.yaml").approved
    assert list(kept) == names and all(Path(file).is_relative_to(folder) for file in kept.values())


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("images/000.png", (40, 30), "is 40x30 pixels, images/000.png is 48x36"),
        ("images/003.png", (48, 36), "is for images/003.png, which is no training view"),
        ("nonsense", (48, 36), "is for nonsense, which is no training view of the capture"),
    ],
)
def test_approved_pictures_that_do_not_fit(scene, tmp_path, name, size, message):
    write_image(tmp_path / "a.png", torch.zeros(size[1], size[0], 3))
    with pytest.raises(InputError, match=message):
        prepare(scene, recipe("painters:Green", approved={name: str(tmp_path / "a.png")}), SILENT)


def test_masks_and_pictures_in_the_photographs_own_size(scene_folder, tiny_folder, tmp_path):
    """Where the capture is used scaled down: nothing of a mask is lost, a picture is scaled like the view."""
    listing = json.loads((scene_folder / "scene.json").read_text())
    listing["capture"]["downscale"] = 2
    (scene_folder / "scene.json").write_text(json.dumps(listing))
    scene, full = Scene.open(scene_folder), Scene.open(tiny_folder / "scene").capture
    masks = {
        f"images/{n}.png": str(tiny_folder / "capture" / "object_mask" / f"{n}.png") for n in ("000", "004")
    }
    given = torch.rand(36, 48, 3)
    write_image(tmp_path / "own.png", given)
    wanted = recipe(region={"masks": masks}, approved={"images/000.png": str(tmp_path / "own.png")})
    entry = edit(scene, wanted, SILENT)
    hull, same = scene.load_layer(entry).region, RegionSpec.parse({"masks": masks}).build(full)
    for ours, theirs in zip(hull.cones, same.cones, strict=True):
        assert torch.equal(ours.mask, theirs.mask) and torch.equal(ours.camera.c2w, theirs.camera.c2w)
        assert ours.camera.fx == pytest.approx(theirs.camera.fx) and ours.mask.shape == (36, 48)
    assert torch.allclose(hull.bounds, same.bounds)
    kept = read_image(scene.layer_folder(entry) / "painted" / "round-0" / "0000-000.png")[0]
    small = given.view(18, 2, 24, 2, 3).mean((1, 3))  # low-passed a little more than that
    assert kept.shape == small.shape and float((kept - small).abs().mean()) < 0.1
    write_image(tmp_path / "m.png", torch.ones(30, 40) * (torch.arange(40) > 9))
    with pytest.raises(InputError, match="is 40x30 pixels but its photograph is 48x36"):
        RegionSpec.parse({"masks": masks | {"images/004.png": str(tmp_path / "m.png")}}).build(scene.capture)


def test_settings_of_an_inpainter(scene_folder):
    scene = Scene.open(scene_folder)
    edit(scene, recipe("painters:Quick"), SILENT)
    calls = painters.Green.calls
    assert [len(call[0]) for call in calls] == [4, 4, 4]  # its batch, and one round
    view = calls[0][0][0]
    assert torch.equal(view.image, view.original) and bool(view.depth.isinf().all())  # uses_render is "none"
    assert scene.load_layer(scene.layers[0]).blend_width == 0
    painters.Green.calls.clear()
    edit(
        scene,
        recipe("painters:Quick", schedule={"rounds": 2, "blend_width": 0.1, "strength_decay": 0.8}),
        SILENT,
    )
    assert [call[2] for call in calls] == pytest.approx([1.0] + [1 - 0.8 * 0.5**0.5] * 2)
    assert scene.load_layer(scene.layers[1]).blend_width == pytest.approx(0.1 * REGION.diagonal)


def test_renders_inside_the_mask_only(scene_folder):
    """They are those of the whole picture, and so are the masks: a pixel's ray is the same in any company."""
    scene = Scene.open(scene_folder)
    whole = prepare(scene, recipe("painters:Green"), SILENT)
    edit(scene, recipe("painters:Masked"), SILENT)
    shown = [view for call in painters.Green.calls for view in call[0]]
    assert [view.name for view in shown] == [seen.view.name for seen in whole.views]
    for view, seen in zip(shown, whole.views, strict=True):
        full = whole.stack.render_image(view.camera)
        assert torch.equal(view.mask, seen.wide_mask)
        assert bool(view.depth[~view.mask].isinf().all())
        # float32 sums over a ray's samples, in vectors of other lengths
        assert torch.allclose(view.depth[view.mask], full.depth[view.mask], rtol=1e-4)
        assert torch.allclose(view.image[seen.mask], full.rgb[seen.mask], atol=1e-5)
        assert torch.equal(view.image[~seen.mask], view.original[~seen.mask])


def test_preparing_an_inpainter(scene):
    session = prepare(scene, recipe("painters:Ready", seed=4), SILENT)
    (context,) = painters.Ready.contexts
    assert isinstance(context, EditContext) and isinstance(session.inpainter, Inpainter)
    assert context.seed == 4 and context.guide is session.guide and context.region is session.region
    assert context.scene is session.stack and context.progress is SILENT
    assert [view.name for view in context.views] == [view.name for view in scene.capture.train]
    with pytest.raises(InputError, match="nobody can paint that"):
        prepare(scene, recipe("painters:Ready", guide={"prompt": "impossible"}), SILENT)
    assert len(painters.Ready.contexts) == 1  # it was asked before anything was done


# --- what is made of what it gives back


@pytest.fixture(scope="module")
def session(scene):
    return prepare(scene, recipe("painters:Bad", inpainter_options={"how": "good"}), SILENT)


def given(session):
    return [inpaint_view(session.inpainter, seen, session.stack) for seen in session.views[:2]]


def painted_by(session):
    views = given(session)
    return views, run_inpainter("painters:Bad", session.inpainter, views, session.guide, 1.0, 0)


WRONG = {
    "None": "was given 2 views and returned NoneType",
    "one short": "was given 2 views and returned 1 images",
    "generator": "returned generator",
    "one tensor": "returned Tensor",
    "arrays": "returned ndarray for images/000.png: a float tensor of shape (36, 48, 3) was expected",
    "size": "returned (35, 48, 3) for images/000.png",
    "channels": "returned (36, 48, 4) for images/000.png",
    "bytes": "values for images/000.png that are not finite numbers in 0..1",
    "to 255": "not finite numbers in 0..1",
    "NaN": "not finite numbers in 0..1",
    "infinite": "not finite numbers in 0..1",
    "raises": "failed: IndexError: list index out of range",
}


@pytest.mark.parametrize("how", WRONG)
def test_what_cannot_be_used_is_refused_by_name(session, how):
    session.inpainter.wrapped.how = how
    with pytest.raises(RunError) as caught:
        painted_by(session)
    assert str(caught.value).startswith("the inpainter painters:Bad ") and WRONG[how] in str(caught.value)


@pytest.mark.parametrize("how", ["good", "NaN outside", "half", "overshoot"])
def test_what_can_be_used_is_used(session, how):
    session.inpainter.wrapped.how = how
    for view, picture in zip(*painted_by(session), strict=True):
        assert picture.dtype == torch.float32 and bool(((picture >= 0) & (picture <= 1)).all())
        assert bool((picture[view.mask] == torch.tensor([0.0, 1.0, 0.0])).all())


def test_running_out_of_memory_is_not_the_inpainters_word(session):
    session.inpainter.wrapped.how = "memory"
    with pytest.raises(MemoryError):
        painted_by(session)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("too few", r"returned \(9,\) as the distances along 10 rays: a float tensor of shape \(10,\) was"),
        ("a list", "returned list as the distances along 10 rays"),
        ("lost", "painters:Bad failed: KeyError: 'depth'"),
    ],
)
def test_distances_that_cannot_be_used_are_refused(session, how, message):
    session.inpainter.wrapped.how = how
    with pytest.raises(RunError, match=message):
        known_distances("painters:Bad", session.inpainter, session.views[0].view.camera.rays()[:10], 1.0)


def test_distances_are_the_inpainters_own(session):
    rays = session.views[0].view.camera.rays()[:10]
    session.inpainter.wrapped.how = "as many as rays"
    apart = 1.5 / session.views[0].view.camera.fx  # of two pixels at this distance
    found = known_distances("painters:Bad", session.inpainter, rays, 1.01 * apart)
    assert found.tolist() == [1.5] * 10
    assert known_distances("painters:Bad", session.inpainter, rays, 0.99 * apart).isnan().all()
    assert known_distances("plain", as_inpainter(painters.Quick()), rays, 1.0) is None


def test_the_layer_is_drawn_to_the_inpainters_distances(scene_folder, monkeypatch):
    given = []

    def fit(*arguments, known, original=rounds.fit_steps, **options):
        given.append((known, arguments[2].rays.count))
        return original(*arguments, known=known, **options)

    monkeypatch.setattr(rounds, "fit_steps", fit)
    monkeypatch.setattr(rounds, "MAX_SPACING", 100.0)  # the tiny photographs have large pixels
    edit(
        Scene.open(scene_folder),
        recipe("painters:Bad", inpainter_options={"how": "as many as rays"}),
        SILENT,
    )
    ((known, count),) = given
    assert known.tolist() == [1.5] * count


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("check", "painters:Bad failed: ValueError: no idea"),
        ("prepare", "painters:Bad failed: KeyError: 'weights'"),
        ("rounds=0", "painters:Bad has rounds = 0: a whole number from 1 to 1000 is needed"),
        ("rounds=1.5", "has rounds = 1.5"),
        ("batch=0", "has batch = 0"),
        ("blend_width=0.9", "has blend_width = 0.9: a number from 0 to 0.5 is needed"),
        ("shell=0.9", "has shell = 0.9: a number from 0 to 0.5 is needed"),
    ],
)
def test_an_inpainter_that_is_wrong_from_the_start(scene, how, message):
    with pytest.raises(RunError, match=message):
        prepare(scene, recipe("painters:Bad", inpainter_options={"how": how}), SILENT)


def test_nothing_is_added_when_painting_fails(scene_folder):
    scene = Scene.open(scene_folder)
    tiny.tiny_layer(scene_folder)
    before = (scene_folder / "scene.json").read_bytes()
    with pytest.raises(RunError, match="returned 3 images"):
        edit(scene, recipe("painters:Bad", inpainter_options={"how": "one short"}), SILENT)
    assert (scene_folder / "scene.json").read_bytes() == before
    assert [entry.name for entry in scene.layers] == ["haze"]  # what was added meanwhile is known too


def test_only_the_region_of_a_photograph_changes(scene_folder):
    """The layer is fitted to the photograph where the mask ends, not to what was painted around."""
    scene, pasted = Scene.open(scene_folder), []

    def paste(seen, file, original=painting.paste):
        pasted.append((to_uint8(seen.view.photograph()), original(seen, file), seen))
        return pasted[-1][1]

    plain = {"match_color": False, "match_warp": False, "robust_weights": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(painting, "paste", paste)
        edit(scene, recipe("painters:Quick", schedule=plain), SILENT)
    assert len(pasted) == 12
    for photograph, picture, seen in pasted:
        assert isinstance(seen, RegionView) and bool((seen.wide_mask | ~seen.mask).all())
        assert torch.equal(picture[~seen.mask], photograph[~seen.mask])
        assert bool((picture[seen.mask] == torch.tensor([0, 255, 0], dtype=torch.uint8)).all())


def test_images_that_may_be_warped_reach_to_the_end_of_what_was_to_be_painted(scene_folder):
    """The rays of the fit are those of the region; what is beyond shows where a warp moves them."""
    scene, used = Scene.open(scene_folder), []

    def image_and_surroundings(self, index, original=PaintedViews.image_and_surroundings):
        used.append((self.views[index], *original(self, index)))
        return used[-1][1:]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PaintedViews, "image_and_surroundings", image_and_surroundings)
        edit(scene, recipe("painters:Quick"), SILENT)
    assert len(used) == 12
    for seen, picture, around in used:
        photograph = to_uint8(seen.view.photograph())
        assert around is None  # all of the image is green
        assert isinstance(seen, RegionView) and bool((seen.wide_mask | ~seen.mask).all())
        assert torch.equal(picture[~seen.wide_mask], photograph[~seen.wide_mask])
        green = torch.tensor([0, 255, 0], dtype=torch.uint8)
        assert bool((picture[seen.wide_mask] == green).all())


# --- regions that cannot be edited


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (([0, 0, 0.3], [0.1, 0.1, 0.1]), "only 0 of 12 training views show the region"),  # inside the ball
        (
            ([0.5, 0.5, -0.5], [0.3, 0.3, 0.3]),
            "only 0 of 12 training views show the region",
        ),  # under the floor
        (([0, 0, 9.0], [0.5, 0.5, 0.5]), r"outside the scene: it is around \(0, 0, 9\)"),
        (([0, 0, 2.0], [0.5, 0.5, 0.5]), "none of the 12 photographs shows the region"),
        (([0, 0, 0.3], [9, 9, 9]), "contains 12 of the cameras"),
        (([0.3, 0.3, 0.1], [0.005, 0.005, 0.005]), "too small"),
    ],
)
def test_a_region_that_nobody_sees(scene_folder, box, message):
    scene = Scene.open(scene_folder)
    with pytest.raises(InputError, match=message):
        edit(scene, recipe(region={"box": {"center": box[0], "size": box[1]}}), SILENT)
    assert not (scene_folder / "layers").exists() and painters.Green.calls == []


def test_masked_photographs_are_not_painted_where_they_are_masked(capture_folder, scene_folder, tmp_path):
    """Pixels that the capture's own masks exclude are never asked for."""
    listing = json.loads((capture_folder / "transforms.json").read_text())
    hidden = np.full((36, 48), 255, np.uint8)
    hidden[:, :24] = 0
    (capture_folder / "masks").mkdir()
    for frame in listing["frames"]:
        frame["mask_path"] = frame["file_path"].replace("images", "masks")
        Image.fromarray(hidden).save(capture_folder / frame["mask_path"])
    (capture_folder / "transforms.json").write_text(json.dumps(listing))
    at = json.loads((scene_folder / "scene.json").read_text())
    at["capture"]["path"] = str(capture_folder)
    (scene_folder / "scene.json").write_text(json.dumps(at))
    session = prepare(Scene.open(scene_folder), recipe(), SILENT)
    assert len(session.views) >= 3
    assert not any(bool(seen.mask[:, :24].any()) for seen in session.views)


# --- on and over other layers


def test_a_second_edit_lies_over_the_first(scene_folder):
    """It sees the first one in what it is given, shows through it where it ends, and outlives it."""
    scene = Scene.open(scene_folder)
    tiny.tiny_layer(scene_folder, size=(SIDE,) * 3)  # gray haze around where the ball would be
    scene = Scene.open(scene_folder)
    view = scene.capture.train[0]
    edit(scene, recipe("painters:Green", schedule={"rounds": 1}), SILENT)
    shown = painters.Green.calls[0][0][0].image
    below = scene.load_layer(scene.layers[0])
    with_haze = LayerStack(scene.base, [below]).render_image(view.camera).rgb
    without = LayerStack(scene.base).render_image(view.camera).rgb
    inside = prepare(scene, recipe(), SILENT).views[0].mask
    assert torch.equal(shown[inside], with_haze[inside]) and not torch.equal(shown[inside], without[inside])
    assert [entry.name for entry in scene.layers] == ["haze", "edit"]
    entry = edit(scene, recipe("painters:Green", schedule={"rounds": 1}), SILENT)
    assert entry == scene.layers[1] and len(scene.layers) == 2  # the same on the same is the same


# --- disks that fill


def test_a_disk_that_fills_loses_nothing(scene_folder, monkeypatch):
    """Whichever write fails, the scene is what it was; with room again the edit goes on and ends the same."""
    scene = Scene.open(scene_folder)
    whole = edit(scene, recipe(), SILENT)
    wanted = (scene.layer_folder(whole) / "field.safetensors").read_bytes()
    scene.remove(1)
    before = (scene_folder / "scene.json").read_bytes()
    replace, left = os.replace, [0]

    def sometimes(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    for count in (0, 2, 3, 6, 9, 1):  # of further writes that go well
        left[0] = count
        with pytest.raises(RunError, match="No space left on the disk"):
            edit(scene, recipe(), SILENT)
        assert (scene_folder / "scene.json").read_bytes() == before and scene.layers == []
        assert Scene.open(scene_folder).layers == []
    left[0] = 1000
    told = Told()
    entry = edit(scene, recipe(), told)
    assert any("Resuming" in said for said in told.said)
    assert (scene.layer_folder(entry) / "field.safetensors").read_bytes() == wanted
