"""The inpainter `diffusion` with small random models: what they are given, and what becomes of what they
give. Nothing here says how good real models' pictures are."""

import inspect
import json
import shutil

import pytest
import tiny
import torch
import trimesh

from nerf_insert.editing.loop import edit
from nerf_insert.editing.painting import inpaint_view
from nerf_insert.editing.session import prepare
from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.hub.catalog import find_entry
from nerf_insert.inpaint.api import EditContext, InpaintView
from nerf_insert.inpaint.diffusion.cropping import crop_around
from nerf_insert.inpaint.diffusion.families import FAMILIES
from nerf_insert.inpaint.diffusion.inpainter import DiffusionInpainter
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.files import read_json
from nerf_insert.io.images import read_image, resize
from nerf_insert.regions import BoxRegion
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

pytestmark = pytest.mark.usefixtures("offline")
SIZE = (96, 72)  # of views painted on their own
TEXT = Guide(prompt="a red hat", negative_prompt="a blue one")
BOX = {"box": {"center": [*tiny.OBJECT[:3]], "size": [0.56] * 3}}
QUICK = {"steps": 2, "device": "cpu", "resolution": 64}


def view(top=20, left=30, size=24, name="a.png", seed=0):
    """A random picture with a square mask, and a plane at distance 2 behind it."""
    picture = torch.rand(SIZE[1], SIZE[0], 3, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(SIZE[1], SIZE[0], dtype=torch.bool)
    mask[top : top + size, left : left + size] = True
    camera = Camera(torch.eye(3, 4), 80.0, 80.0, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
    forward = -camera.rays().directions[:, 2].view(mask.shape)
    return InpaintView(name, picture * 0.9, picture, mask, 2.0 / forward, camera)


class Told(Progress):
    def __init__(self):
        super().__init__()
        self.said, self.warned = [], []
        self.say, self.warn = self.said.append, self.warned.append


@pytest.fixture
def spy(monkeypatch):
    """Keeps the arguments that pipelines are called with; they still do their work."""
    import diffusers

    calls = []
    for name in {kind.pipeline for kind in FAMILIES} | {kind.depth_pipeline for kind in FAMILIES} - {None}:
        kind = getattr(diffusers, name)

        def watched(self, *args, _real=kind.__call__, **given):
            assert not args
            kept = {key: list(value) if isinstance(value, list) else value for key, value in given.items()}
            calls.append((type(self).__name__, kept, self))  # some change the lists that they are given
            return _real(self, **given)

        watched.__signature__ = inspect.signature(kind.__call__)
        monkeypatch.setattr(kind, "__call__", watched)
    return calls


def painter(tiny_model, family="sd15", guide=TEXT, **options):
    made = DiffusionInpainter(model=str(tiny_model(family)), **{**QUICK, **options})
    made.check(guide)
    return made


def paint(inpainter, views, guide=TEXT, strength=0.6, seed=3):
    return inpainter.inpaint(views, guide, strength=strength, seed=seed)


# --- every family, through the loop

NAMES = [kind.name for kind in FAMILIES]


@pytest.mark.parametrize("family", NAMES)
def test_every_family_edits_a_scene(family, tiny_model, scene_folder, spy, tmp_path):
    kind = next(kind for kind in FAMILIES if kind.name == family)
    say = {"prompt": "a red hat"} if kind.reads_text else {}
    if kind.references in ("optional", "needed"):
        say["reference"] = str(tmp_path / "look.png")
        shutil.copy(Scene.open(scene_folder).capture.train[0].path, tmp_path / "look.png")
    options = {"model": str(tiny_model(family)), "tile": 1, "batch": 6, **QUICK}
    wanted = Recipe.from_dict(
        {
            "region": BOX,
            "guide": say,
            "inpainter": "diffusion",
            "inpainter_options": options,
            "schedule": {"steps": 4, "rays": 128, "rounds": 2},
        }
    )
    scene = Scene.open(scene_folder)
    entry = edit(scene, wanted, SILENT)
    given = [arguments for _, arguments, _ in spy]
    assert {name for name, _, _ in spy} == {kind.pipeline}
    for one in given:
        assert one["image"].shape[0] == one["mask_image"].shape[0] == len(one["generator"]) <= 6
        assert one["mask_image"].unique().tolist() in ([0, 1], [1])
        assert all(side % kind.multiple == 0 for side in one["image"].shape[2:])
        assert len({generator.initial_seed() for generator in one["generator"]}) == 1
        if kind.reads_text:
            assert one["prompt"] == ["a red hat"] * len(one["image"])
    if kind.takes_strength:
        strengths = [one["strength"] for one in given]
        assert strengths[0] == 1 and strengths == sorted(strengths, reverse=True) and strengths[-1] < 1
    if family == "flux2-klein":
        assert all(one["image_reference"].size == tiny.SIZE for one in given)
    if family == "paint-by-example":
        assert all(picture.size == tiny.SIZE for one in given for picture in one["example_image"])
    painted = sorted((scene.layer_folder(entry) / "painted" / "round-0").iterdir())
    region = BoxRegion(tiny.OBJECT[:3], [0.56] * 3)
    for file in painted:
        seen = next(v for v in scene.capture.train if v.path.stem == file.stem.partition("-")[2])
        picture, photograph = read_image(file)[0], seen.photograph()
        inside = region.project(seen.camera)
        far = ~torch.nn.functional.max_pool2d(inside[None, None].float(), 9, 1, 4)[0, 0].bool()
        assert torch.equal(picture[far], photograph[far])
        assert (picture - photograph)[inside].abs().mean() > 0.02
    assert painted


def test_anchors_are_painted_in_one_picture_and_the_others_by_themselves(tiny_model, scene_folder, spy):
    """Two by two; each cell is what the window of its view shows of the scene below."""
    options = {"model": str(tiny_model("sd15")), "tile": 4, "context": 1.0, **QUICK, "resolution": 128}
    wanted = Recipe.from_dict(
        {
            "region": BOX,
            "guide": {"prompt": "a red hat"},
            "inpainter": "diffusion",
            "inpainter_options": options,
            "schedule": {
                "steps": 4,
                "rays": 128,
                "rounds": 2,
                "anchors": 4,
                "strength": 0.8,
                "repaint": "none",
            },
        }
    )
    scene = Scene.open(scene_folder)
    below = prepare(scene, wanted, SILENT)
    entry = edit(scene, wanted, SILENT)
    first, *later = (given for _, given, _ in spy)
    assert first["image"].shape == (1, 3, 128, 128) and first["strength"] == 0.8
    rounds = read_json(scene.layer_folder(entry) / "rounds.json")["rounds"]
    seen = {seen.view.name: inpaint_view(below.inpainter, seen, below.stack) for seen in below.views}
    for k, name in enumerate(rounds[0]["painted"]):
        window = crop_around(seen[name].mask, side=64, multiple=8, context=1.0)
        shown, mask = (
            first[key][0].unfold(1, 64, 64).unfold(2, 64, 64)[:, k // 2, k % 2].movedim(0, -1)
            for key in ("image", "mask_image")
        )
        torch.testing.assert_close(shown, window.image(seen[name].image).clamp(0, 1))
        assert torch.equal(mask[..., 0].bool(), window.mask(seen[name].mask))
    assert sum(len(given["image"]) for given in later) == len(rounds[1]["painted"]) == 8
    assert all(given["image"].shape[2:] == (128, 128) and given["strength"] < 0.8 for given in later)


def test_an_edit_stopped_while_the_model_paints_goes_on_with_the_same_result(
    tiny_model, scene_folder, tmp_path
):
    from nerf_insert.io.files import read_tensors

    class Stop(Progress):
        """Stops the work in the middle of a picture."""

        def __init__(self, after):
            super().__init__()
            self.left = after

        def changed(self, task):
            if task.description.startswith("Inpainting "):
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt

    other = shutil.copytree(scene_folder, tmp_path / "other")
    options = {"model": str(tiny_model("sd15")), "batch": 2, **QUICK}
    wanted = Recipe.from_dict(
        {
            "region": BOX,
            "guide": {"prompt": "a red hat"},
            "inpainter": "diffusion",
            "inpainter_options": options,
            "schedule": {"steps": 4, "rays": 128, "rounds": 2},
        }
    )
    weights = []
    for folder, after in ((scene_folder, None), (other, 4)):
        scene = Scene.open(folder)
        if after:
            with pytest.raises(KeyboardInterrupt):
                edit(scene, wanted, Stop(after))
            assert not scene.layers
        entry = edit(Scene.open(folder), wanted, SILENT)
        weights.append(read_tensors(scene.layer_folder(entry) / "field.safetensors")[0])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


# --- what the model is given


def test_the_window_is_given_as_it_is_where_sizes_agree(tiny_model, spy):
    """A mask of 40 pixels at context 1.6 is shown in 64: with a resolution of 64 no pixel is resampled."""
    one = view(size=40, top=16, left=28)
    painted = paint(painter(tiny_model), [one])[0]
    _, given, _ = spy[0]
    window = slice(4, 68), slice(16, 80)
    assert torch.equal(given["image"][0].movedim(0, -1), one.image[window])
    assert torch.equal(given["mask_image"][0, 0].bool(), one.mask[window])
    assert given["prompt"] == ["a red hat"] and given["negative_prompt"] == ["a blue one"]
    assert given["strength"] == 0.6 and given["guidance_scale"] == 7.5 and given["num_inference_steps"] == 2
    assert torch.equal(painted[~one.mask], one.original[~one.mask])
    assert (painted != one.original)[one.mask].float().mean() > 0.9


def test_options_reach_the_model(tiny_model, spy):
    made = painter(tiny_model, guidance=3.5, steps=3, scheduler="EulerDiscreteScheduler")
    paint(made, [view()])
    _, given, pipeline = spy[0]
    assert given["guidance_scale"] == 3.5 and given["num_inference_steps"] == 3
    assert type(pipeline.scheduler).__name__ == "EulerDiscreteScheduler"
    assert pipeline.scheduler.config.beta_schedule == "scaled_linear"  # the model's own, not a default
    with pytest.raises(InputError, match=r"NoScheduler does not fit the model; these do: .*DDIMScheduler"):
        painter(tiny_model, scheduler="NoScheduler")


def test_the_seed_decides(tiny_model):
    """Another process's pipeline would be loaded anew, as a second inpainter's is here."""
    same = [paint(painter(tiny_model), [view()], seed=seed)[0] for seed in (3, 3, 4)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


def test_views_painted_together_are_those_painted_apart(tiny_model, spy):
    views = [view(seed=1), view(seed=2, top=30), view(seed=3, left=50)]
    several, single = (paint(painter(tiny_model, batch=batch), views) for batch in (3, 1))
    assert [len(given["image"]) for _, given, _ in spy] == [3, 1, 1, 1]
    for a, b in zip(several, single, strict=True):  # float32 sums of other sizes
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_few_steps_and_little_strength_still_paint(tiny_model, spy):
    paint(painter(tiny_model, "flux2-klein"), [view()], strength=0.2)
    _, given, _ = spy[0]
    assert given["num_inference_steps"] == 5 and given["strength"] == 0.2  # one step of five


def test_depth_is_given_as_the_controlnet_knows_it(tiny_model, spy):
    """A slanted plane: inverse depth along the axis, near white, over the window's whole range."""
    one = view()
    slope = torch.linspace(1.0, 3.0, SIZE[1])[:, None].expand(SIZE[1], SIZE[0])  # along the axis, far below
    forward = -one.camera.rays().directions[:, 2].view(slope.shape)
    one = InpaintView(one.name, one.image, one.original, one.mask, slope / forward, one.camera)
    made = painter(tiny_model, controlnet=str(tiny_model("controlnet")), control_scale=0.9, resolution=64)
    paint(made, [one])
    name, given, _ = spy[0]
    assert (
        name == "StableDiffusionControlNetInpaintPipeline" and given["controlnet_conditioning_scale"] == 0.9
    )
    shown = given["control_image"][0, 0]
    assert shown[0].mean() > 0.97 and shown[-1].mean() < 0.03 and (shown.diff(dim=0) <= 1e-6).all()
    assert torch.equal(given["control_image"][0, 0], given["control_image"][0, 2])
    rows = 1 / slope[12:51, 0]  # the window: 39 pixels around the mask's 24, from row 12
    wanted = ((rows - rows.quantile(0.02)) / (rows.quantile(0.98) - rows.quantile(0.02))).clamp(0, 1)
    middle = torch.nn.functional.interpolate(wanted[None, None], 64, mode="linear")[0, 0]
    assert (shown.mean(1) - middle).abs().max() < 0.03  # stretched before or after resampling


def test_depth_for_sdxl(tiny_model, spy):
    paint(painter(tiny_model, "sdxl", controlnet=str(tiny_model("controlnet-xl"))), [view()])
    assert spy[0][0] == "StableDiffusionXLControlNetInpaintPipeline" and "control_image" in spy[0][1]


def test_depth_for_z_image(tiny_model, spy):
    """Its pipeline knows no strength."""
    paint(painter(tiny_model, "z-image", controlnet=str(tiny_model("controlnet-z"))), [view()])
    name, given, _ = spy[0]
    assert name == "ZImageControlNetInpaintPipeline" and "strength" not in given
    assert given["control_image"].shape == given["image"].shape


@pytest.mark.usefixtures("coarse_light")
def test_the_meshs_depth_stands_in_for_what_is_not_yet_there(tiny_model, tiny_folder, spy):
    ball = trimesh.creation.icosphere(subdivisions=3, radius=tiny.OBJECT[3])
    ball.apply_translation(tiny.OBJECT[:3])
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).long()
    mesh = Mesh.plain(vertices, faces, tiny.OBJECT[4])
    scene = Scene.open(tiny_folder / "scene")
    seen = scene.capture.train[0]
    region = BoxRegion(tiny.OBJECT[:3], [0.56] * 3)
    rendered = scene.stack().render_image(seen.camera)
    mask = region.project(seen.camera)
    one = InpaintView(seen.name, seen.photograph(), seen.photograph(), mask, rendered.depth, seen.camera)
    guide = Guide(prompt="a ball", mesh=mesh)
    options = {"controlnet": str(tiny_model("controlnet")), "resolution": 64, "mesh_strength": 0.5}
    made = painter(tiny_model, guide=guide, **options)
    made.prepare(EditContext(scene.stack(), region, guide, tuple(scene.capture.train), 0, SILENT))
    for strength in (1.0, 0.6):
        made.inpaint([one], guide, strength=strength, seed=0)
    (_, first, _), (_, later, _) = spy
    assert first["strength"] == 0.5 and later["strength"] == 0.6
    window = made._crop(one, 64).image(one.image).movedim(-1, 0)
    torch.testing.assert_close(later["image"][0], window)  # the ball is there to start from only at first
    assert ((first["image"][0] - window).abs().amax(0) > 0.1).float().mean() > 0.15
    assert not torch.equal(first["control_image"], later["control_image"])


def test_reference_pictures_reach_an_adapter(tiny_model, adapter, spy):
    pictures = [torch.rand(20, 30, 3), torch.rand(40, 10, 3)]
    guide = Guide(references=tuple(pictures))
    made = painter(tiny_model, guide=guide, ip_adapter=str(adapter), reference_scale=0.8)
    with_both = paint(made, [view()], guide)[0]
    _, given, pipeline = spy[0]
    assert [picture.size for picture in given["ip_adapter_image"][0]] == [(30, 20), (10, 40)]
    scales = [p.scale for p in pipeline.unet.attn_processors.values() if hasattr(p, "scale")]
    assert scales and all(scale == [0.8] for scale in scales)
    other = Guide(references=(torch.zeros(20, 30, 3),))
    assert not torch.equal(with_both, paint(made, [view()], other)[0])
    with pytest.raises(InputError, match=r"needs an IP-Adapter .*\(reference-sd15\)"):
        painter(tiny_model, guide=guide)


@pytest.fixture(scope="session")
def adapter(tiny_model, tmp_path_factory):
    """An IP-Adapter of the form that is published: ip_adapter.safetensors beside image_encoder/."""
    import tiny_models

    return tiny_models.ip_adapter(tiny_model("sd15"), tmp_path_factory.mktemp("adapter"))


def test_several_references_are_one_sheet_for_models_that_take_one(tiny_model, spy):
    guide = Guide(prompt="this", references=(torch.ones(20, 30, 3), torch.zeros(40, 10, 3)))
    paint(painter(tiny_model, "flux2-klein", guide=guide), [view()], guide)
    sheet = spy[0][1]["image_reference"]
    assert sheet.size == (30 + 5, 20) and sheet.getpixel((3, 3)) == (255, 255, 255)
    assert sheet.getpixel((33, 3)) == (0, 0, 0)


# --- views in one picture


def test_views_that_start_from_nothing_are_painted_in_one_picture(tiny_model, spy):
    views = [view(seed=k, top=10 + 5 * k, name=f"{k}.png") for k in range(6)]
    made = painter(tiny_model, resolution=128, tile=4, controlnet=str(tiny_model("controlnet")))
    painted = paint(made, views, strength=1.0)
    (_, first, _), (_, second, _) = spy
    assert first["image"].shape == (1, 3, 128, 128) and second["image"].shape == (1, 3, 128, 128)
    assert first["control_image"].shape == first["image"].shape
    cells = first["image"][0].unfold(1, 64, 64).unfold(2, 64, 64)  # [3, 2, 2, 64, 64]
    for k in range(4):
        crop = made._crop(views[k], 64)
        shown = cells[:, k // 2, k % 2].movedim(0, -1)
        torch.testing.assert_close(shown, crop.image(views[k].image))
    # the second sheet carries on with the first view, as it was painted and not to be painted again
    masks = second["mask_image"][0, 0].unfold(0, 64, 64).unfold(1, 64, 64)
    assert not masks[0, 0].any() and masks[0, 1].any() and masks[1, 0].any()
    assert not masks[1, 1].any()  # nothing left for the last cell
    crop = made._crop(views[0], 64)
    carried = resize(second["image"][0, :, :64, :64].movedim(0, -1), (crop.width, crop.height))
    outside = ~crop.window(views[0].mask)
    inside = torch.nn.functional.max_pool2d(outside[None].float(), 9, 1, 4)[0] == 0  # the border aside
    assert inside.sum() > 200
    torch.testing.assert_close(carried[inside], crop.window(painted[0])[inside], atol=1e-5, rtol=0)
    for one, picture in zip(views, painted, strict=True):
        assert torch.equal(picture[~one.mask], one.original[~one.mask])
        assert (picture != one.original)[one.mask].float().mean() > 0.9


def test_later_views_are_painted_by_themselves(tiny_model, tiny_folder, spy):
    views = [view(seed=k) for k in range(3)]
    made = painter(tiny_model, resolution=64, tile=4, batch=8)
    paint(made, views, strength=0.5)
    assert [tuple(given["image"].shape) for _, given, _ in spy] == [(3, 3, 64, 64)]
    region = BoxRegion([0, 0, 0], [1, 1, 1])
    stack = Scene.open(tiny_folder / "scene").stack()
    made.prepare(
        EditContext(stack, region, TEXT, (), 0, SILENT, strength=0.5)
    )  # so that is the first round's
    paint(made, views, strength=0.5)
    assert tuple(spy[1][1]["image"].shape) == (1, 3, 64, 64) and spy[1][1]["strength"] == 0.5


# --- files of many kinds


def test_a_lora_changes_what_is_painted(tiny_model, tmp_path, spy):
    import tiny_models

    file, one = tiny_models.lora(tiny_model("sd15"), tmp_path / "style.safetensors"), view()
    plain, half, full, none = (
        paint(painter(tiny_model, **options), [view()])[0]
        for options in ({}, {"lora": f"{file}:0.5"}, {"lora": [str(file)]}, {"lora": f"{file}:0"})
    )
    assert not torch.equal(plain, half) and not torch.equal(half, full)
    torch.testing.assert_close(plain, none, atol=1e-5, rtol=0)
    wrong = tiny_models.lora(tiny_model("sdxl"), tmp_path / "other.safetensors")
    for model in ("sd15", "flux2-klein"):
        with pytest.raises(InputError, match=r"^the LoRA .*other\.safetensors .*$"):  # before any work
            painter(tiny_model, model, lora=str(wrong))
    with pytest.raises(InputError, match="PaintByExamplePipeline takes no LoRA"):
        painter(tiny_model, "paint-by-example", guide=Guide(references=(one.image,)), lora=str(wrong))


def test_a_single_file_takes_the_place_of_the_models_own_weights(tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    same_name = "diffusion_pytorch_model.safetensors"
    own = load_file(tiny_model("sd15") / "unet" / same_name)
    save_file(own, tmp_path / "same.safetensors")
    save_file({key: value + 0.01 for key, value in own.items()}, tmp_path / "tuned.safetensors")
    plain, same, tuned = (
        paint(painter(tiny_model, weights=file), [view()])[0]
        for file in (None, str(tmp_path / "same.safetensors"), str(tmp_path / "tuned.safetensors"))
    )
    assert torch.equal(plain, same) and not torch.equal(plain, tuned)
    save_file({"conv_in.weight": own["conv_in.weight"]}, tmp_path / "little.safetensors")
    for other in (tmp_path / "little.safetensors", tiny_model("sd15") / "vae" / same_name):
        with pytest.raises(InputError, match=r"^the weights .* not .*$"):  # in a line, before any work
            painter(tiny_model, weights=str(other))


@pytest.fixture
def cache(monkeypatch, tmp_path, tiny_model):
    """Put small models into an empty Hugging Face cache, under the names of the catalog."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name, family):
        place = tmp_path / "hub" / ("models--" + find_entry(name).repository.replace("/", "--"))
        shutil.copytree(tiny_model(family), place / "snapshots" / "1")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("1")
        return place / "snapshots" / "1"

    return put


def test_the_model_is_chosen_for_what_is_asked_for(cache, tiny_model, tmp_path):
    """The smallest on a CPU, of those that can do it."""
    import tiny_models

    sizes = {}
    for name, family in {
        "sdxl-inpaint": "sdxl",
        "sd15-inpaint": "sd15",
        "flux2-klein": "flux2-klein",
    }.items():
        cache(name, family)
        sizes[name] = sum(f.stat().st_size for f in tiny_model(family).rglob("*.safetensors"))

    def chosen(guide=TEXT, **options):
        made = DiffusionInpainter(device="cpu", **options)
        made.check(guide)
        assert made.settled == {"model": made.family.model.name}
        return made.settled["model"]

    assert chosen() == min(sizes, key=sizes.get)
    assert chosen(Guide(references=(torch.zeros(8, 8, 3),))) == "flux2-klein"  # the others want an adapter
    assert chosen(controlnet=str(tiny_model("controlnet"))) == "sd15-inpaint"
    assert chosen(controlnet=str(tiny_model("controlnet-xl"))) == "sdxl-inpaint"
    with pytest.raises(InputError, match=r"can paint this\. .*sd15-inpaint: .*give --prompt"):
        chosen(Guide())
    lora = tiny_models.lora(tiny_model("sdxl"), tmp_path / "style.safetensors")
    assert chosen(lora=str(lora)) == "sdxl-inpaint"


def test_a_single_file_is_the_model_where_one_has_what_it_lacks(cache, tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    own = load_file(tiny_model("sd15") / "unet" / "diffusion_pytorch_model.safetensors")
    save_file({key: value + 0.01 for key, value in own.items()}, tmp_path / "tuned.safetensors")
    file = str(tmp_path / "tuned.safetensors")
    cache("sdxl-inpaint", "sdxl")
    with pytest.raises(InputError, match=r"tuned\.safetensors is a single file: .* has them\. .*--weights"):
        DiffusionInpainter(model=file, **QUICK).check(TEXT)
    whole = {"first_stage_model.x": torch.zeros(1)}  # SDXL's, by what it has
    whole["conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"] = torch.zeros(1280)
    save_file(whole, tmp_path / "whole.safetensors")
    with pytest.raises(InputError, match=r"models pull stabilityai/stable-diffusion-xl-base-1\.0`"):
        DiffusionInpainter(model=str(tmp_path / "whole.safetensors"), **QUICK).check(TEXT)
    cache("sd15-inpaint", "sd15")
    made = DiffusionInpainter(model=file, **QUICK)
    made.check(TEXT)
    assert torch.equal(paint(made, [view()])[0], paint(painter(tiny_model, weights=file), [view()])[0])
    with pytest.raises(InputError, match="give --prompt"):
        DiffusionInpainter(model=file, **QUICK).check(Guide())


def test_models_that_were_not_made_for_inpainting_paint_too(tiny_model):
    one = view()
    painted = paint(painter(tiny_model, "sd15-base"), [one])[0]
    assert (painted != one.original)[one.mask].float().mean() > 0.9


# --- refusals, memory, stopping


def refusing(monkeypatch, refused_seeds):
    """Let the safety checker refuse what was painted from these seeds, as diffusers does: in black."""
    import diffusers

    kind = diffusers.StableDiffusionInpaintPipeline
    real = kind.__call__

    def call(self, **given):
        assert self.safety_checker is not None
        seeds = [generator.initial_seed() for generator in given["generator"]]
        output = real(self, **given)
        output.nsfw_content_detected = [seed in refused_seeds for seed in seeds]
        for index, seed in enumerate(seeds):
            if seed in refused_seeds:
                output.images[index] = 0
        return output

    monkeypatch.setattr(kind, "__call__", call)


def test_a_refused_picture_is_painted_again_from_another_seed(tiny_model, monkeypatch):
    wanted = paint(painter(tiny_model), [view()], seed=5)[0]
    refusing(monkeypatch, {3, 4})
    made, told = painter(tiny_model), Told()
    made.progress = told
    assert torch.equal(paint(made, [view()], seed=3)[0], wanted)
    assert told.warned[0] == "the model's safety checker refused a.png: painting again from seed 4"


def test_a_picture_that_stays_refused_is_reported(tiny_model, monkeypatch):
    refusing(monkeypatch, {3, 4, 5})
    with pytest.raises(RunError, match=r"refused a\.png, with 3 seeds: change the prompt"):
        paint(painter(tiny_model), [view()], seed=3)


def test_the_real_checker_is_asked_unless_switched_off(tiny_model, tmp_path, spy):
    """A checker to which everything is forbidden."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_model("sd15"), tmp_path / "strict")
    file = folder / "safety_checker" / "model.safetensors"
    weights = load_file(file)
    weights["concept_embeds_weights"].fill_(-2.0)  # what every cosine exceeds
    save_file(weights, file, metadata={"format": "pt"})
    options = {"model": str(folder), **QUICK}
    with pytest.raises(RunError, match="safety checker refused"):
        paint(DiffusionInpainter(**options), [view()])
    painted = paint(DiffusionInpainter(**options, safety=False), [view()])[0]
    assert spy[-1][2].safety_checker is None
    assert torch.equal(painted, paint(painter(tiny_model), [view()])[0])


def test_black_and_nonsense_are_never_pasted(tiny_model, monkeypatch):
    import diffusers

    kind = diffusers.Flux2KleinInpaintPipeline
    real = kind.__call__
    for value, said in (
        (0.0, "nothing but black for a.png"),
        (float("nan"), "for a.png is not made of numbers"),
    ):

        def call(self, _value=value, **given):
            output = real(self, **given)
            output.images[:] = _value
            return output

        monkeypatch.setattr(kind, "__call__", call)
        with pytest.raises(RunError, match=rf"{said}, with 3 seeds: .*precision=full") as caught:
            paint(painter(tiny_model, "flux2-klein"), [view()])
        assert "safety" not in str(caught.value)  # of which there is none


def test_less_is_painted_at_once_when_memory_runs_out(tiny_model, monkeypatch):
    import diffusers

    kind = diffusers.StableDiffusionInpaintPipeline
    real, tried = kind.__call__, []

    def call(self, **given):
        tried.append(len(given["image"]))
        if tried[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, **given)

    views = [view(seed=k) for k in range(4)]
    wanted = paint(painter(tiny_model, batch=1), views)
    monkeypatch.setattr(kind, "__call__", call)
    made, told = painter(tiny_model, batch=4), Told()
    made.progress = told
    assert all(torch.equal(a, b) for a, b in zip(paint(made, views), wanted, strict=True))
    assert tried == [4, 2, 1, 1, 1, 1] and "1 at a time" in told.said[-1]

    def never(self, **given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(kind, "__call__", never)
    with pytest.raises(RunError, match="not enough memory for a single image"):
        paint(painter(tiny_model), views)


def test_painting_stops_within_a_step(tiny_model, spy):
    class Stop(Progress):
        steps = 0

        def changed(self, task):
            self.steps += "Inpainting" in task.description
            if self.steps == 2:
                raise KeyboardInterrupt

    made = painter(tiny_model, steps=20)
    made.progress = Stop()
    with pytest.raises(KeyboardInterrupt):
        paint(made, [view()], strength=1.0)
    assert made.progress.steps == 2
    made.progress = SILENT
    assert torch.equal(paint(made, [view()])[0], paint(painter(tiny_model, steps=20), [view()])[0])


# --- before any work


def test_what_will_paint_is_said_in_one_line(tiny_model, tiny_folder):
    told, guide = Told(), Guide(prompt="a hat", negative_prompt="a bat")
    made = painter(tiny_model, "flux2-klein", guide=guide)
    stack = Scene.open(tiny_folder / "scene").stack()
    made.prepare(EditContext(stack, BoxRegion([0, 0, 0], [1, 1, 1]), guide, (), 0, told))
    assert len(told.said) == 1
    assert told.said[0].startswith("Painting with FLUX.2 [klein] (") and "float32" in told.said[0]
    assert "there is no GPU" in told.said[0]
    assert told.warned == ["FLUX.2 [klein] does not read negative prompts"]


@pytest.mark.parametrize(
    "family, guide, message",
    [
        ("sd15", Guide(), "give --prompt"),
        ("paint-by-example", Guide(prompt="a hat"), "give --reference"),
        ("flux-fill", Guide(prompt="a", references=(torch.zeros(4, 4, 3),)), "does not read reference"),
    ],
)
def test_a_guide_that_the_model_cannot_follow(family, guide, message, tiny_model):
    with pytest.raises(InputError, match=message):
        painter(tiny_model, family, guide=guide)


def test_a_controlnet_of_another_family(tiny_model):
    with pytest.raises(InputError, match="made for another kind of model"):
        painter(tiny_model, "sdxl", controlnet=str(tiny_model("controlnet")))
    with pytest.raises(InputError, match="give the ControlNet's folder"):
        painter(tiny_model, controlnet=str(tiny_model("controlnet") / "diffusion_pytorch_model.safetensors"))
    with pytest.raises(InputError, match="takes no depth"):
        painter(tiny_model, "flux-fill", controlnet=str(tiny_model("controlnet")))


def test_a_pipeline_that_does_not_paint(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model("sd15"), tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps({**index, "_class_name": "StableVideoDiffusionPipeline"})
    )
    with pytest.raises(InputError, match=r"is a StableVideoDiffusionPipeline, which .* cannot use"):
        DiffusionInpainter(model=str(folder)).check(TEXT)


def test_a_masked_view_without_a_mask_is_left_as_it_is(tiny_model):
    empty = view()
    empty.mask[:] = False
    painted = paint(painter(tiny_model), [empty, view()])
    assert torch.equal(painted[0], empty.original) and not torch.equal(painted[1], view().original)
