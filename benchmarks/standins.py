"""Stand-in inpainters that start from the true images and disagree from view to view, as real models do.

They tell nothing about the images of a real model; they show how the loop copes with images that disagree
in a known way. Lengths are fractions of an image's width; H and W are its height and width.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from nerf_insert.inpaint.api import Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import read_image, read_mask


@dataclass
class Standin(Inpainter):
    """Paints the truth, with random changes of its own in each view.

    Random numbers depend on the view's name, and with `follow` on the seed, too.

    Attributes:
        truth: Folder with truth/ and object_mask/.
        color: Factor on a random gain (15 %) and offset (0.05) of each channel.
        warp: Factor on a random shift and smooth bending (0.5 % of the width each) and scale (1.5 %).
        blur: Standard deviation of a blur of the whole image, as an autoencoder leaves it, in pixels.
        drift: Factor on a change of color that varies across the image (0.06, over a third of its width).
        proportions: Factor on another height and width of the object (8 %), about its middle.
        texture: Factor on a pattern of its own on the object (0.15, about four waves across it).
        halo: Width of a soft border along which the photograph shows through, in pixels inside the mask.
        pasted: Whether the photograph itself is returned outside the mask.
        wrong: Percentage of views that show a striped ellipse in place of the object.
        follow: Whether the part of the input is kept that survives noise of the given strength: its low
            frequencies, the more of them the lower the strength.
        kinds: Number of colorings of the object (`of_kind`), of which one is picked at random; the views of
            the first call, painted as one image, have it in common.
        tiles: Views of one call that share their color and half of the warp.
    """

    truth: str
    color: float = 0.0
    warp: float = 0.0
    blur: float = 0.0
    drift: float = 0.0
    proportions: float = 0.0
    texture: float = 0.0
    halo: float = 0.0
    pasted: bool = False
    wrong: int = 0
    follow: bool = False
    kinds: int = 1
    tiles: int = 1

    def __post_init__(self) -> None:
        self.uses_render = "full" if self.follow else "none"
        self.views_painted = self.calls = 0

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Tensor]:
        self.calls += 1
        self.views_painted += len(views)
        painted = []
        for number, view in enumerate(views):
            first = views[number - number % self.tiles].name  # of its tile
            idea = self.idea(view, first, seed if self.follow else 0)
            image = follow(view.image, idea, view.mask, strength) if self.follow else idea
            painted.append(torch.where(view.mask[..., None], image, view.original) if self.pasted else image)
        return painted

    def idea(self, view: InpaintView, first: str, seed: int) -> Float[Tensor, "H W 3"]:
        """The image that it would paint from nothing."""
        truth, mask_file = (find(Path(self.truth) / kind, view.name) for kind in ("truth", "object_mask"))
        image = read_image(truth)[0]
        here, shared = source(view.name, seed), source(first, seed)
        if self.wrong and float(torch.rand((), generator=source(view.name, seed + 1))) < self.wrong / 100:
            mask = read_mask(mask_file, size=(image.shape[1], image.shape[0]))
            image = other_object(view.original, mask, here)
        if self.kinds > 1:
            whose = "all of the first call" if self.calls == 1 else view.name
            which = torch.randint(self.kinds, (), generator=source(whose, seed))
            image = torch.where(view.mask[..., None], of_kind(image, int(which)), image)
        if self.proportions or self.texture:
            mask = read_mask(mask_file, size=(image.shape[1], image.shape[0]))
            image = other_make(image, mask, self.proportions, self.texture, source(view.name, seed + 2))
        if self.warp:
            own, common = (field(image, generator) for generator in (here, shared))
            moved = own if self.tiles == 1 else (own + common) / 2
            image = bend(image, self.warp * moved)
        if self.color:
            gain = 1 + 0.15 * self.color * torch.randn(3, generator=shared)
            image = image * gain + 0.05 * self.color * torch.randn(3, generator=shared)
        if self.drift:
            image = image + 0.06 * self.drift * smooth_noise(image, 3, (3, 4), source(view.name, seed + 3))
        if self.blur:
            image = gaussian_blur(image.movedim(-1, 0), [4 * math.ceil(self.blur) + 1] * 2, [self.blur] * 2)
            image = image.movedim(0, -1)
        if self.halo:
            depth = torch.from_numpy(distance_transform_edt(view.mask.numpy())).float()
            image = torch.lerp(view.original, image, (depth / self.halo).clamp(0, 1)[..., None])
        return image.clamp(0, 1)


def find(folder: Path, view: str) -> Path:
    """Return the image of a view in a folder, whatever its format."""
    return next(path for path in sorted(folder.glob(f"{Path(view).stem}.*")))


def source(name: str, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def of_kind(image: Float[Tensor, "H W 3"], kind: int) -> Float[Tensor, "H W 3"]:
    """Rotate an image's channels by `kind`; kind 0 is the image itself."""
    return image.roll(kind, dims=-1)


def other_object(
    photograph: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"], generator: torch.Generator
) -> Float[Tensor, "H W 3"]:
    """The photograph with a striped ellipse about where the object is."""
    if not bool(mask.any()):
        return photograph
    y, x = torch.meshgrid(*(torch.arange(n).float() for n in photograph.shape[:2]), indexing="ij")
    draw = torch.rand(8, generator=generator)
    middle = [float(axis[mask].mean()) for axis in (x, y)]
    radii = [
        float(axis[mask].std().clamp_min(2)) * (1.2 + 0.8 * float(draw[k])) for k, axis in ((0, x), (1, y))
    ]
    inside = ((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2 < 1
    stripes = 0.75 + 0.25 * torch.sin((x * draw[2] + y * draw[3]) * 30 / photograph.shape[1] * math.pi)
    return torch.where(inside[..., None], draw[4:7] * stripes[..., None], photograph)


def other_make(
    image: Float[Tensor, "H W 3"],
    mask: Bool[Tensor, "H W"],
    proportions: float,
    texture: float,
    generator: torch.Generator,
) -> Float[Tensor, "H W 3"]:
    """The object with other proportions, and with a pattern of waves on it."""
    if not bool(mask.any()):
        return image
    y, x = torch.meshgrid(*(torch.arange(n).float() for n in mask.shape), indexing="ij")
    middle = torch.stack([x[mask].mean(), y[mask].mean()])
    extent = float(torch.stack([x[mask].std(), y[mask].std()]).mean())
    from_middle = torch.stack([x, y], -1) - middle
    draw = torch.randn(4, generator=generator)
    if texture:
        waves = torch.sin(from_middle @ draw[:2] / draw[:2].norm() * 2 * math.pi / extent + 6 * draw[2])
        image = torch.where(mask[..., None], image + 0.15 * texture * waves[..., None], image)
    if proportions:
        near = torch.exp(-0.5 * (from_middle.norm(dim=-1) / (3 * extent)) ** 4)[..., None]
        image = bend(image, near * 0.08 * proportions * draw[2:] * from_middle)
    return image


def smooth_noise(
    image: Float[Tensor, "H W 3"], channels: int, points: tuple[int, int], generator: torch.Generator
) -> Float[Tensor, "H W C"]:
    """Normal noise at a grid of points, rows by columns, bicubic in between."""
    noise = torch.randn(1, channels, *points, generator=generator)
    size = image.shape[:2]
    between = torch.nn.functional.interpolate(noise, size, mode="bicubic", align_corners=True)
    return between[0].movedim(0, -1)


def field(image: Float[Tensor, "H W 3"], generator: torch.Generator) -> Float[Tensor, "H W 2"]:
    """A random smooth displacement in pixels: shift, scale about the middle, and bending."""
    height, width = image.shape[:2]
    shift, scale = torch.randn(2, generator=generator), float(torch.randn((), generator=generator))
    bending = smooth_noise(image, 2, (7, 9), generator)
    y, x = torch.meshgrid(*(torch.arange(n) - n / 2 for n in (height, width)), indexing="ij")
    return 0.005 * width * (shift + bending) + 0.015 * scale * torch.stack([x, y], -1)


def bend(image: Float[Tensor, "H W 3"], moved: Float[Tensor, "H W 2"]) -> Float[Tensor, "H W 3"]:
    height, width = image.shape[:2]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    at = (torch.stack([x, y], -1) + moved) / torch.tensor([width - 1, height - 1]) * 2 - 1
    channels = image.movedim(-1, 0)[None]
    moved_picture = torch.nn.functional.grid_sample(
        channels, at[None], mode="bicubic", padding_mode="border", align_corners=True
    )
    return moved_picture[0].movedim(0, -1)


def follow(
    image: Float[Tensor, "H W 3"], idea: Float[Tensor, "H W 3"], mask: Tensor, strength: float
) -> Float[Tensor, "H W 3"]:
    """The most likely image under noise of this strength, for images with a 1/f^2 spectrum about `idea`.

    SDEdit starts from sqrt(a) image + sqrt(1 - a) noise; of a frequency of power P the fraction
    a P / (a P + 1 - a) of what the image has there survives (Wiener's filter).
    """
    height, width = mask.shape
    kept = kept_at(strength)
    fy, fx = torch.fft.fftfreq(height)[:, None] * height, torch.fft.rfftfreq(width)[None, :] * width
    power = 1 / (fx**2 + fy**2 + 1)
    power = power / power.mean()
    survives = kept * power / (kept * power + 1 - kept)
    change = torch.where(mask[..., None], image - idea, 0.0)
    low = torch.fft.irfft2(
        torch.fft.rfft2(change, dim=(0, 1)) * survives[..., None], s=(height, width), dim=(0, 1)
    )
    return (idea + low).clamp(0, 1)


def kept_at(strength: float) -> float:
    """The fraction a of the image's variance in what painting starts from.

    It is that of Stable Diffusion's schedule of 1000 steps, and none at strength 1, where the inpainting of
    diffusers starts from noise alone."""
    if strength >= 1:
        return 0.0
    noise = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    return float((1 - noise[: max(1, int(strength * 1000))]).prod())
