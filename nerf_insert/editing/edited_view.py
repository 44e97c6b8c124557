"""Photographs as they would be if they had been taken of the edited scene.

An edit of a scene that has layers already must see what these have changed: a painter that looks at the
photograph would find a thing that is gone, or miss one that was put there, and its image would contradict
the scene around the region.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.io.images import resize, to_uint8
from nerf_insert.rendering.stack import LayerStack

CHANGED = 2  # of 255: what layers change by no more is the photograph's, which is sharper than the base
DARKEST = 1e-3  # linear; below, a ratio of shade means nothing


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
        rays = self.camera.rays()
        index = self.stack.meets_layer(rays).nonzero()[:, 0]
        rays = rays[index]
        bare, covered = (
            LayerStack(self.stack.base, layers, self.stack.options).render(rays).rgb
            for layers in ((), [layer for _, layer in self.stack.fields])
        )
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
