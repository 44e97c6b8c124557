"""Photographs as they would be if they had been taken of the edited scene.

An edit of a scene that has layers already must see what these have changed: a painter that looks at the
photograph would find a thing that is gone, or miss one that was put there, and its image would contradict
the scene around the region.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int32, UInt8
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.io.images import resize, to_uint8
from nerf_insert.rendering.stack import LayerStack, hits

CHANGED = 2  # of 255: what layers change by no more is the photograph's, which is sharper than the base
DARKEST = 1e-3  # linear; below, a ratio of shade means nothing
COARSE = 4  # pixels beside one another of which one is looked at for shade, first
FAR = 1e6  # world units; stands for "nothing is hit" where a finite number is needed


@dataclass(frozen=True)
class EditedView(View):
    """A view whose photograph shows what the layers of a stack have changed.

    Attributes:
        stack: The scene with its layers.
    """

    stack: LayerStack | None = None

    @classmethod
    def of(cls, view: View, stack: LayerStack) -> View:
        """Return the view as the layers of a stack change it; the view itself if there are none."""
        if not stack.layers:
            return view
        return cls(**{field.name: getattr(view, field.name) for field in fields(View)}, stack=stack)

    def as_taken(self) -> View:
        """Return the view without the layers in its photograph."""
        return View(**{field.name: getattr(self, field.name) for field in fields(View)})

    def photograph(self, size: tuple[int, int] | None = None) -> Float[Tensor, "H W 3"]:
        """Read the photograph and put the layers into it: sRGB in 0..1.

        Raises:
            InputError: The file is missing or unreadable.
        """
        image = super().photograph()
        index, rgb = self._changes
        image.view(-1, 3)[index] = rgb.float() / 255
        return resize(image, size or self.size)

    @cached_property
    def _changes(self) -> tuple[Int32[Tensor, " K"], UInt8[Tensor, "K 3"]]:
        """Return the pixels that the layers change, and their new colors.

        What a layer covers is rendered. What is only shaded stays the photograph's, times the ratio of shade.
        """
        assert self.stack is not None
        rays, fields = self.camera.rays(), [layer for _, layer in self.stack.fields]
        meets = torch.zeros(rays.count, dtype=torch.bool)
        for layer in fields:
            meets |= hits(layer.region, rays)
        index = (meets | self._is_shaded().reshape(-1)).nonzero()[:, 0]
        rays, meets = rays[index], meets[index]
        covered = LayerStack(self.stack.base, fields, self.stack.options).render(rays).rgb
        bare = covered.clone()
        bare[meets] = LayerStack(self.stack.base, (), self.stack.options).render(rays[meets]).rgb
        after = self.stack.render(rays).rgb if self.stack.shades else covered
        ratio = srgb_to_linear(after) / srgb_to_linear(covered).clamp_min(DARKEST)
        shaded = linear_to_srgb(srgb_to_linear(super().photograph().view(-1, 3)[index]) * ratio).clamp(0, 1)
        is_covered, is_shaded = (
            (to_uint8(new).int() - to_uint8(old).int()).abs().amax(-1) > CHANGED
            for old, new in ((bare, covered), (covered, after))
        )
        rgb = to_uint8(torch.where(is_covered[:, None], after, shaded))
        changed = is_covered | is_shaded
        return index[changed].int(), rgb[changed]

    def _is_shaded(self) -> Bool[Tensor, "H W"]:
        """Find the pixels that a shade layer may change, in a small image, with its pixels' neighbors.

        Most rays through the region of a shade layer end where it changes nothing.
        """
        assert self.stack is not None
        camera, shades = self.camera.scaled(1 / COARSE), [shade for _, shade in self.stack.shades]
        if not shades:
            return torch.zeros(self.camera.height, self.camera.width, dtype=torch.bool)
        rays = camera.rays()
        points = rays.at(self.stack.render(rays).depth.clamp_max(FAR))
        gray = torch.full_like(points, 0.5)
        changed = torch.stack([(shade.shade(points, gray) - gray).abs().amax(-1) for shade in shades]).amax(0)
        near = (changed > CHANGED / 2 / 255).float().view(1, 1, camera.height, camera.width)
        near = torch.nn.functional.max_pool2d(near, 3, stride=1, padding=1)
        return torch.nn.functional.interpolate(near, (self.camera.height, self.camera.width))[0, 0] > 0
