"""Photographs as they would be if they had been taken of the edited scene.

An edit of a scene that has layers already must see what these have changed: a painter that looks at the
photograph would find a thing that is gone, or miss one that was put there, and its image would contradict
the scene around the region.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.io.images import resize, to_uint8
from nerf_insert.rendering.stack import LayerStack

CHANGED = 2  # of 255: what layers change by no more is the photograph's, which is sharper than the base


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
        """Return the pixels that the layers change, and their new colors."""
        assert self.stack is not None
        rays = self.camera.rays()
        index = self.stack.meets_layer(rays).nonzero()[:, 0]
        base = LayerStack(self.stack.base, (), self.stack.options)
        before, after = (to_uint8(stack.render(rays[index]).rgb) for stack in (base, self.stack))
        changed = (after.int() - before.int()).abs().amax(-1) > CHANGED
        return index[changed].int(), after[changed]
