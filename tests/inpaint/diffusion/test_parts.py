"""What the inpainter `diffusion` is made of, without a model: windows, sheets, depth, memory, files."""

import json
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.errors import InputError
from nerf_insert.hub.catalog import MODELS
from nerf_insert.hub.weights import Model, count_parameters, find_model, find_weights, weight_files
from nerf_insert.inpaint.diffusion.cropping import BORDER, MAX_ZOOM, crop_around, soft_mask
from nerf_insert.inpaint.diffusion.depth_control import normalize_depth
from nerf_insert.inpaint.diffusion.families import FAMILIES
from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.inpaint.diffusion.placement import GIGABYTE, ComputeDevice, plan_placement
from nerf_insert.inpaint.diffusion.tiling import Sheet

# --- windows


@given(
    st.integers(8, 300),
    st.integers(8, 300),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.sampled_from([64, 512, 1024]),
    st.sampled_from([8, 16]),
    st.floats(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_windows_hold_the_mask_and_lie_in_the_picture(height, width, corners, side, multiple, context):
    top, bottom = sorted(round(c * (height - 1)) for c in corners[:2])
    left, right = sorted(round(c * (width - 1)) for c in corners[2:])
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top : bottom + 1, left : right + 1] = True
    crop = crop_around(mask, side=side, multiple=multiple, context=context)
    assert 0 <= crop.top <= top and bottom < crop.top + crop.height <= height
    assert 0 <= crop.left <= left and right < crop.left + crop.width <= width
    wanted = max(context * max(bottom - top + 1, right - left + 1), side // MAX_ZOOM)
    assert crop.height == min(height, -int(-wanted // 1)) and crop.width == min(width, -int(-wanted // 1))
    assert all(length % multiple == 0 for length in crop.size)
    thin = min(side * (crop.width / crop.height) ** e for e in (0.5, -0.5)) > 2 * multiple
    assert not thin or abs(crop.size[0] * crop.size[1] / side**2 - 1) < 0.6  # rounding of short sides
    assert crop.mask(mask).any()


def test_what_is_pasted_back_is_what_was_taken_out():
    """Window and model of one size: not resampled. Inside the soft border all of it, outside none."""
    picture, painted = torch.rand(2, 100, 120, 3).unbind(0)
    mask = torch.zeros(100, 120, dtype=torch.bool)
    mask[30:70, 40:80] = True
    crop = crop_around(mask, side=64, multiple=8, context=1.6)
    assert (crop.height, crop.width, crop.size) == (64, 64, (64, 64))
    result = crop.paste(crop.image(painted), picture, mask)
    assert torch.equal(result[~mask], picture[~mask])
    inner = torch.zeros_like(mask)
    inner[33:67, 43:77] = True  # the border is 1.2 pixels
    torch.testing.assert_close(result[inner], painted[inner], atol=1e-6, rtol=0)
    edge = mask & ~inner
    assert (result[edge] != painted[edge]).any() and (result[edge] != picture[edge]).any()


def test_the_soft_border_rises_from_the_edge_to_all():
    mask = torch.zeros(50, 50, dtype=torch.bool)
    mask[10:40, 10:40] = True
    share = soft_mask(mask, 4.0)
    line = share[25, 9:25]
    assert line[0] == 0 and (line.diff() >= 0).all() and (line[5:] == 1).all() and 0 < line[1] < 0.15
    assert (soft_mask(torch.ones(5, 5, dtype=torch.bool), 4.0) == 1).all()
    assert BORDER < 0.04 / 2  # of nerf_insert.editing.region_views.DILATION: outside the region


# --- sheets


@given(st.integers(1, 16), st.integers(1, 5), st.integers(1, 5))
def test_sheets_come_apart_again(n, height, width):
    pictures = [torch.rand(height, width, 3) for _ in range(n)]
    sheet = Sheet.of(n)
    assert sheet.rows <= sheet.columns <= sheet.rows + 1 and sheet.rows * sheet.columns >= n
    whole = sheet.join(pictures)
    assert whole.shape == (height * sheet.rows, width * sheet.columns, 3)
    assert all(torch.equal(a, b) for a, b in zip(sheet.split(whole), pictures, strict=True))
    masks = [torch.ones(height, width, dtype=torch.bool)] * n
    assert int(sheet.join(masks, blank=True).sum()) == n * height * width  # nothing is painted in spare cells


def test_pictures_lie_row_by_row():
    whole = Sheet.of(4).join([torch.full((1, 1), float(k)) for k in range(4)])
    assert whole.tolist() == [[0, 1], [2, 3]]


# --- depth


def test_depth_uses_the_whole_range_and_nothing_is_black():
    inverse = torch.linspace(0.2, 0.9, 1000).view(10, 100)
    inverse[0, :3] = 0  # nothing there
    shown = normalize_depth(inverse)
    assert shown.shape == (10, 100, 3) and shown.min() == 0 and shown.max() == 1
    assert (shown[0, :3] == 0).all() and shown[5, 50, 0] == pytest.approx(0.5, abs=0.08)
    assert (normalize_depth(torch.zeros(4, 4)) == 0).all()


# --- memory

PARTS = {"transformer": 4_000_000_000, "text_encoder": 4_000_000_000, "vae": 100_000_000}  # 16.2 GB at half
WORK = 4 * GIGABYTE


def machine(gpu, ram=64, device="cuda"):
    return ComputeDevice(device, "a GPU", gpu * GIGABYTE, ram * GIGABYTE)


@pytest.mark.parametrize(
    "gpu, placement, sliced, batch",
    [
        (80, "gpu", False, 8),
        (24, "gpu", False, 1),
        (16, "offload", False, 1),
        (12, "offload", True, 1),
        (6, "sequential", False, 1),
        (4, "sequential", True, 1),
    ],
)
def test_what_fits_where(gpu, placement, sliced, batch):
    made = plan_placement(PARTS, WORK, machine(gpu))
    assert (made.placement, made.sliced, made.batch, made.half) == (placement, sliced, batch, True)
    assert "16.2 GB of weights" in made.reason and f"{gpu}.0 GB that are free" in made.reason


def test_what_fits_nowhere_is_said_with_figures():
    with pytest.raises(InputError, match=r"not enough memory.*20\.2 GB on the GPU.*there are 2\.0 GB"):
        plan_placement(PARTS, WORK, machine(2))
    with pytest.raises(InputError, match="not enough memory"):
        plan_placement(PARTS, WORK, machine(12, ram=8))  # parts that wait have to be somewhere
    with pytest.raises(InputError, match=r"needs 20\.2 GB"):
        plan_placement(PARTS, WORK, machine(16), placement="gpu")
    with pytest.raises(InputError, match=r"needs 40\.4 GB and 16\.0 GB are free"):
        plan_placement(PARTS, WORK, machine(0, ram=16, device="cpu"), precision="full")


def test_on_a_cpu_precision_is_full_unless_that_does_not_fit():
    assert not plan_placement(PARTS, WORK, machine(0, ram=64, device="cpu")).half
    assert plan_placement(PARTS, WORK, machine(0, ram=30, device="cpu")).half


def test_a_person_may_decide():
    made = plan_placement(PARTS, WORK, machine(80), placement="sequential", batch=3, precision="full")
    assert (made.placement, made.batch, made.half) == ("sequential", 3, False)
    with pytest.raises(InputError, match="there is no device cuda: torch sees no GPU"):
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        ComputeDevice.detect("cuda")
    with pytest.raises(InputError, match="there is no device toaster"):
        ComputeDevice.detect("toaster")


# --- options


@pytest.mark.parametrize(
    "option, value",
    [
        *[("steps", 0), ("steps", 2.5), ("guidance", "x"), ("guidance", float("nan")), ("tile", 99)],
        *[("memory", "lots"), ("depth", "deep"), ("lora", 3), ("model", ""), ("model", 5), ("safety", "no")],
        ("resolution", True),
    ],
)
def test_bad_options_are_named(option, value):
    with pytest.raises(InputError, match=f"diffusion's option {option} must be"):
        DiffusionOptions.parse({option: value})


def test_unknown_options_are_named():
    with pytest.raises(InputError, match=r"no option 'stpes'; it has .*steps"):
        DiffusionOptions.parse({"stpes": 3})
    assert DiffusionOptions.parse({"guidance": None, "lora": "a.safetensors:0.5"}).lora == (
        ("a.safetensors", 0.5),
    )
    assert DiffusionOptions.parse({"lora": ["a:b.safetensors", "c"]}).lora == (
        ("a:b.safetensors", 1.0),
        ("c", 1.0),
    )


# --- files


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """An empty Hugging Face cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_parameters_are_counted_from_the_files(tiny_model):
    from diffusers import StableDiffusionInpaintPipeline

    model = Model("tiny", tiny_model("sd15"))
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(model.folder, local_files_only=True)
    for part in ("unet", "vae", "text_encoder", "safety_checker"):
        state = getattr(pipeline, part).state_dict()
        counted = sum(v.numel() for k, v in state.items() if "position_ids" not in k)
        assert model.parameters[part] == counted
    assert "tokenizer" not in model.parameters and "scheduler" not in model.parameters


def test_incomplete_and_unsafe_models_are_refused(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model("sd15"), tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="is damaged or no safetensors file: it is cut off"):
        find_model(str(folder))
    weights.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        find_model(str(folder))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"no weights as safetensors, only .*\.bin, which can execute code"):
        find_model(str(folder))
    shutil.rmtree(folder / "unet")
    with pytest.raises(InputError, match=r"is not complete: .*unet is missing"):
        find_model(str(folder))
    (folder / "model_index.json").unlink()
    with pytest.raises(InputError, match=r"has no model_index\.json"):
        find_model(str(folder))


def test_missing_shards_are_named(tmp_path):
    index = {"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "m-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"m-00002-of-00002\.safetensors is missing \(1 of 2 files\)"):
        weight_files(tmp_path)
    (tmp_path / "m-00002-of-00002.safetensors").write_bytes(b"")
    assert len(weight_files(tmp_path)) == 2


def test_files_marked_as_half_precision_are_found_and_loaded(tiny_model, tmp_path):
    from diffusers import StableDiffusionInpaintPipeline

    folder = tmp_path / "half"
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(tiny_model("sd15"), local_files_only=True)
    pipeline.save_pretrained(folder, variant="fp16")
    model = find_model(str(folder))
    assert model.variant == "fp16" and model.parameters == Model("x", tiny_model("sd15")).parameters
    how = {"variant": model.variant, "local_files_only": True}
    assert StableDiffusionInpaintPipeline.from_pretrained(folder, **how).unet.config.in_channels == 9


def test_a_damaged_header_is_no_crash(tmp_path):
    zeros = b"\0" * 7
    for k, data in enumerate([b"", zeros, b"\xff" * 20, b"\x05" + zeros + b"[1,2]", b"\x02" + zeros]):
        file = tmp_path / f"{k}.safetensors"
        file.write_bytes(data)
        with pytest.raises(InputError, match="is damaged or no safetensors file"):
            count_parameters(file)


@pytest.mark.usefixtures("no_cache", "offline")
def test_what_is_not_here_is_said_with_what_to_do():
    with pytest.raises(InputError, match=r"flux2-klein is not on this machine: run `nerf-insert models pull"):
        find_weights("flux2-klein", "model")
    with pytest.raises(InputError, match="pull some/thing"):
        find_weights("some/thing", "model")
    with pytest.raises(InputError, match="there is no model 'no-such'"):
        find_weights("no-such", "model")
    with pytest.raises(InputError, match="depth-sdxl is no model"):
        find_weights("depth-sdxl", "model")


@pytest.mark.usefixtures("no_cache", "offline")
def test_without_any_model_the_message_says_which_to_get():
    from nerf_insert.inpaint.diffusion.inpainter import DiffusionInpainter
    from nerf_insert.inpaint.guide import Guide

    with pytest.raises(InputError, match=r"(?s)no diffusion model on this.*pull flux2-klein.*Apache-2\.0"):
        DiffusionInpainter().check(Guide(prompt="a hat"))


@pytest.mark.parametrize("module", ["diffusers", "transformers", "accelerate", "huggingface_hub", "peft"])
def test_a_missing_library_names_the_extra(module, monkeypatch):
    from nerf_insert.inpaint.diffusion.inpainter import DiffusionInpainter
    from nerf_insert.inpaint.guide import Guide

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"the inpainter diffusion needs .*nerf-insert\[diffusion\]"):
        DiffusionInpainter(lora="style.safetensors").check(Guide(prompt="a hat"))


def test_catalog_names_known_families():
    families = {kind.name for kind in FAMILIES}
    assert {entry.family for entry in MODELS if entry.kind != "metric"} <= families
    assert families == {entry.family for entry in MODELS if entry.kind == "model"}
    assert len({entry.name for entry in MODELS}) == len(MODELS)
