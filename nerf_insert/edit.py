"""The edit loop: from a recipe to a layer.

    region -> masks in all views -> [paint the views -> fit the layer] x rounds -> layer on top

Every painted view and the state of the fit are written as they are made, under layers/NNN-name/; the
layer joins the scene when it is complete. Stopped at any moment, the same recipe goes on from there and
ends with the same layer: what is random follows from the seed and the step, and pictures are always
used as they were written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.checkpoints import Checkpoint
from nerf_insert.errors import InputError, RunError
from nerf_insert.files import read_json, sweep, write_json, write_yaml
from nerf_insert.fitting import FitConfig, cache_rays, choose, fit_layer
from nerf_insert.guide import Guide
from nerf_insert.inpaint import load_inpainter
from nerf_insert.inpaint.contract import EditContext, InpaintView
from nerf_insert.layers import LAYER_FIELD, Layer
from nerf_insert.masking import RegionView, look_for
from nerf_insert.meshes import load_mesh
from nerf_insert.pictures import read_picture, write_picture
from nerf_insert.pixels import Pixels, to_bytes
from nerf_insert.placing import build_region, load_pose
from nerf_insert.progress import Progress
from nerf_insert.recipe import Recipe
from nerf_insert.regions.base import Region
from nerf_insert.rendering import Stack
from nerf_insert.scene import LayerEntry, Scene

ROUNDS = 3  # for an inpainter that does not say how many it wants
SHELL = 0.03  # blend shell, as a share of the region's diagonal, unless the recipe or the inpainter says
BEYOND = 1.0  # farthest from the middle of 0..1 that is still cut to it: a painter may overshoot a little
BATCH = 8  # views that are handed to an inpainter at once, unless it says otherwise


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that is known before the first view is painted."""

    recipe: Recipe
    region: Region
    stack: Stack  # what lies below the new layer
    views: tuple[RegionView, ...]  # those that see the region
    inpainter: Any
    guide: Guide

    @property
    def rounds(self) -> int:
        return self.recipe.schedule.rounds or getattr(self.inpainter, "rounds", ROUNDS)

    @property
    def shell(self) -> float:
        given = self.recipe.schedule.shell
        return getattr(self.inpainter, "shell", SHELL) if given is None else given


def prepare(scene: Scene, recipe: Recipe, progress: Progress) -> Prepared:
    """Load what the recipe names, project the region, and check all of it before time is spent.

    Raises InputError with what is wrong and what to do.
    """
    inpainter = load_inpainter(recipe.inpainter, recipe.inpainter_options)
    check_settings(recipe.inpainter, inpainter)
    guide = load_guide(recipe)
    if hasattr(inpainter, "check"):
        with blaming(recipe.inpainter):
            inpainter.check(guide)
    capture = scene.capture
    for warning in capture.warnings:
        progress.warn(warning)
    with progress.task("Building the region", total=1) as task:
        region = build_region(recipe.region, capture)
        task.advance(1)
    stack = scene.stack()
    views = look_for(region, stack, capture, recipe.schedule.min_share, progress)
    context = EditContext(stack, region, guide, tuple(v.view for v in views), recipe.seed, progress)
    if hasattr(inpainter, "prepare"):
        with blaming(recipe.inpainter):
            inpainter.prepare(context)
    return Prepared(recipe, region, stack, views, inpainter, guide)


def load_guide(recipe: Recipe) -> Guide:
    said = recipe.guide
    return Guide(
        prompt=said.prompt,
        negative_prompt=said.negative_prompt,
        references=tuple(read_picture(file)[0] for file in said.references),
        mesh=load_mesh(said.mesh, load_pose(said.pose)) if said.mesh else None,
    )


def edit(
    scene: Scene,
    recipe: Recipe,
    progress: Progress,
    *,
    again: bool = False,
    watch: Callable[[Layer], None] | None = None,
) -> LayerEntry:
    """Make the recipe's layer and put it on top of the scene; goes on where an earlier run stopped.

    If the topmost layer came from this very recipe there is nothing to do, unless `again` is set. `watch`
    is given the layer, which then grows, before each round's fit.
    Raises InputError for what the person can mend, RunError for what went wrong on the way.
    """
    with scene.locked():
        identity = _identity(scene, recipe)
        made = scene.layers[-1] if scene.layers else None
        if (
            made
            and not again
            and _work(scene.layer_folder(made)).get("identity") == _identity(scene, recipe, made)
        ):
            progress.say(f"Layer {made.name} was made from this very recipe; nothing to do.")
            return made
        prepared = prepare(scene, recipe, progress)
        folder = _unfinished(scene, identity)
        if folder is None:
            folder = scene.new_layer_folder(recipe.name)
            write_json(folder / "work.json", {"identity": identity})  # first: the folder is found again by it
        else:
            progress.say(f"Going on with the edit in {folder}.")
        if not (folder / "region" / "region.json").exists():
            write_yaml(folder / "recipe.yaml", recipe.copied_into(folder).to_dict())
            write_json(folder / "region" / "region.json", prepared.region.save(folder / "region"))
        _make_layer(prepared, folder, identity, progress, watch or (lambda _: None))
        entry = LayerEntry(folder.name, recipe.name)
        scene.add(entry)
        return entry


def _make_layer(
    prepared: Prepared, folder: Path, identity: str, progress: Progress, watch: Callable[[Layer], None]
) -> None:
    """Paint and fit, round by round, and leave the layer in `folder`."""
    recipe, region = prepared.recipe, prepared.region
    if (folder / "field.safetensors").exists():
        _tidy(folder)
        return
    field = LAYER_FIELD.with_view_dependence(recipe.schedule.view_dependent)
    shell = prepared.shell * region.diagonal
    photographs = [to_bytes(v.view.photograph()) for v in prepared.views]
    cameras = [v.view.camera for v in prepared.views]
    layer = Layer(region, field, shell, seed=recipe.seed).to(prepared.stack.device)
    config = FitConfig(
        steps=max(1, recipe.schedule.steps // prepared.rounds), rays=recipe.schedule.rays, seed=recipe.seed
    )
    inside = torch.cat([v.mask.reshape(-1) for v in prepared.views]).nonzero()[:, 0]
    cached = None
    for k in range(prepared.rounds):
        done = folder / f"round-{k}.safetensors"
        if done.exists():
            layer = Layer.load(done, region).to(prepared.stack.device).train().requires_grad_(True)
            continue
        strength = recipe.schedule.strength * (1 - 0.8 * (k / prepared.rounds) ** 0.5)
        watch(layer)
        below = prepared.stack
        current = Stack(below.base, (*below.layers, layer)) if k else below
        painted = _paint(prepared, current, folder / "painted" / f"round-{k}", strength, progress)
        pictures = [_paste(*parts) for parts in zip(photographs, painted, prepared.views, strict=True)]
        pixels = Pixels(cameras, pictures)
        if cached is None:
            with progress.task("Looking along the rays once", total=1) as task:
                cached = cache_rays(prepared.stack, region, pixels, choose(config.max_rays, config, inside))
                task.advance(1)
            if not cached.rays.count:
                raise InputError(
                    "the region is hidden behind the scene in every view: nothing of it can be seen"
                )
        checkpoint = Checkpoint(
            folder / "checkpoint.safetensors", layer, same={"identity": f"{identity}-{k}"}
        )
        label = "Fitting the layer" + (f", round {k + 1} of {prepared.rounds}" if prepared.rounds > 1 else "")
        fit_layer(
            layer,
            prepared.stack,
            cached,
            pixels.rgba(cached.pixels)[0],
            config,
            progress,
            label,
            fresh=k == 0,
            checkpoint=checkpoint,
        )
        layer.save(done)
    layer.save(folder / "field.safetensors")
    _tidy(folder)


def _tidy(folder: Path) -> None:
    """Remove what only an unfinished layer needs, and what was being written when somebody was killed."""
    for part in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sweep(part)
    for leftover in [*folder.glob("round-*.safetensors"), folder / "checkpoint.safetensors"]:
        leftover.unlink(missing_ok=True)


def _paint(
    prepared: Prepared, current: Stack, folder: Path, strength: float, progress: Progress
) -> list[Float[Tensor, "H W 3"]]:
    """All views painted, read from where they are kept; those that are missing are painted first."""
    files = [folder / f"{index:04d}-{Path(v.view.name).stem}.png" for index, v in enumerate(prepared.views)]
    size = getattr(prepared.inpainter, "batch", BATCH)
    batches = [range(first, min(first + size, len(files))) for first in range(0, len(files), size)]
    with progress.task("Painting the views", total=len(files)) as task:
        for batch in batches:
            if not all(files[index].exists() for index in batch):
                views = [inpaint_view(prepared, prepared.views[index], current) for index in batch]
                for index, picture in zip(batch, run_inpainter(prepared, views, strength), strict=True):
                    write_picture(files[index], picture)
            task.advance(len(batch))
    return [read_picture(file)[0] for file in files]


def inpaint_view(prepared: Prepared, seen: RegionView, current: Stack) -> InpaintView:
    """What an inpainter is given of one view: the photograph with the scene as it is now in the region."""
    image = photograph = seen.view.photograph()
    depth = torch.full_like(image[..., 0], float("inf"))
    if getattr(prepared.inpainter, "uses_render", True):
        rendered = current.picture(seen.view.camera, keep=True)
        image, depth = torch.where(seen.mask[..., None], rendered.rgb, photograph), rendered.depth.clone()
    return InpaintView(
        name=seen.view.name,
        image=image,
        original=photograph,
        mask=seen.wide_mask,
        depth=depth,
        camera=seen.view.camera,
    )


def run_inpainter(prepared: Prepared, views: Sequence[InpaintView], strength: float) -> list[Tensor]:
    """Call the inpainter and check what it gives back. Raises RunError, naming it, if that is unusable."""
    name = prepared.recipe.inpainter
    with blaming(name):
        painted = prepared.inpainter.inpaint(
            views, prepared.guide, strength=strength, seed=prepared.recipe.seed
        )
    if not isinstance(painted, Sequence) or len(painted) != len(views):
        got = f"{len(painted)} pictures" if isinstance(painted, Sequence) else type(painted).__name__
        raise RunError(f"the inpainter {name} was given {len(views)} views and gave back {got}")
    for view, picture in zip(views, painted, strict=True):
        if not isinstance(picture, Tensor) or picture.shape != view.original.shape:
            got = tuple(picture.shape) if isinstance(picture, Tensor) else type(picture).__name__
            raise RunError(
                f"the inpainter {name} gave back {got} for {view.name}: a float tensor of shape "
                f"{tuple(view.original.shape)} was expected"
            )
        if not picture.is_floating_point() or not bool(((picture[view.mask] - 0.5).abs() <= BEYOND).all()):
            raise RunError(
                f"the inpainter {name} gave back values for {view.name} that are not finite numbers in 0..1"
            )
    return [picture.detach().float().cpu().nan_to_num().clamp(0, 1) for picture in painted]


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Whatever an inpainter's own code raises becomes a RunError that names it."""
    try:
        yield
    except (InputError, RunError, MemoryError):
        raise
    except Exception as cause:
        raise RunError(f"the inpainter {name} failed: {type(cause).__name__}: {cause}") from cause


def check_settings(name: str, inpainter: Any) -> None:
    """Raises RunError where an inpainter asks for what cannot be."""
    for key, kind, low, high in (
        ("rounds", int, 1, 1000),
        ("batch", int, 1, 10_000),
        ("shell", float, 0, 0.5),
    ):
        value = getattr(inpainter, key, high)
        if isinstance(value, bool) or not isinstance(value, int | kind) or not low <= value <= high:
            what = "whole number" if kind is int else "number"
            raise RunError(
                f"the inpainter {name} has {key} = {value!r}: a {what} from {low} to {high} is needed"
            )


def _paste(photograph: Tensor, painted: Float[Tensor, "H W 3"], seen: RegionView) -> Tensor:
    """The photograph's bytes with the painted picture in the region."""
    return torch.where(seen.mask[..., None], to_bytes(painted), photograph)


def _identity(scene: Scene, recipe: Recipe, without: LayerEntry | None = None) -> str:
    """What makes an edit the same edit: its recipe, and the layers that it lies on."""
    below = [entry.folder for entry in scene.layers if entry.enabled and entry is not without]
    return hashlib.sha256(json.dumps([recipe.fingerprint(), below]).encode()).hexdigest()


def _unfinished(scene: Scene, identity: str) -> Path | None:
    """The folder of an edit of this identity that never joined the scene."""
    known = scene.known_folders()
    for folder in sorted((scene.folder / "layers").glob("[0-9][0-9][0-9]-*")):
        if folder.name not in known and _work(folder).get("identity") == identity:
            return folder
    return None


def _work(folder: Path) -> dict:
    try:
        work = read_json(folder / "work.json")
    except InputError:
        return {}
    return work if isinstance(work, dict) else {}


def region_masks(prepared: Prepared) -> dict[str, Bool[Tensor, "H W"]]:
    """The region's visible part in each view that sees it, by the view's name."""
    return {seen.view.name: seen.mask for seen in prepared.views}
