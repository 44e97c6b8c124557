"""Photographs, what is marked in them, and where that shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from nerf_insert.app import image_sandbox, region_overlay
from nerf_insert.app.draft_to_recipe import region_of
from nerf_insert.app.services.common import Service, answering
from nerf_insert.errors import InputError

MAX_MASK = 16 << 20  # bytes
LARGE = 480  # pixels of the region's outline on the stage


class Marking(Service):
    @answering
    def scene(self, data: dict) -> dict:
        """{"title", "trained", "views": [{"name", "width", "height"}], "layers"}"""
        opened = self.opened(data)
        views = [{"name": v.name, "width": v.size[0], "height": v.size[1]} for v in opened.capture.views]
        if opened.place.trained:
            self._render_depths(opened)
        return {"title": opened.place.title, "trained": opened.place.trained, "views": views}

    @answering
    def photographs(self, data: dict) -> dict:
        """{"urls": {name: JPEG}} for {"names": [...], "width": pixels}."""
        opened, width = self.opened(data), min(int(data.get("width", 176)), 1600)
        names = [str(name) for name in data.get("names", [])][:64]
        return {"urls": {name: opened.photograph(opened.capture.view(name), width) for name in names}}

    @answering
    def mark(self, data: dict) -> dict:
        """Keep what was painted on {"view"}: {"png"} with opacity where it is painted, none to forget it."""
        opened = self.opened(data)
        view = opened.capture.view(str(data.get("view", "")))
        drafts, key, _ = self.draft(data)
        png = data.get("png")
        draft = drafts.set_mask(key, view.name, _mask_png(png, view.size) if png else None)
        return {"masks": list(draft.masks)}

    @answering
    def mask(self, data: dict) -> dict:
        """{"png"}: what is painted on {"view"} so far, and {"lines"}: where the other masks' thing lies."""
        opened = self.opened(data)
        view = opened.capture.view(str(data.get("view", "")))
        drafts, key, draft = self.draft(data)
        masks = {name: str(drafts.file(key, "masks", file)) for name, file in draft.masks.items()}
        png = None
        if view.name in masks and Path(masks[view.name]).exists():
            png = "data:image/png;base64," + base64.b64encode(Path(masks[view.name]).read_bytes()).decode()
        return {"png": png, "lines": region_overlay.guide_lines(opened, masks, view), "masks": list(masks)}

    @answering
    def region(self, data: dict) -> dict:
        """Where the draft's region shows: {"overlays": {name: PNG}, "large": PNG or null for {"view"},
        "words", "problem", "complete", "masks"}."""
        opened = self.opened(data)
        drafts, key, draft = self.draft(data)
        answer: dict[str, Any] = {"overlays": {}, "large": None, "masks": list(draft.masks), "complete": True}
        if not draft.has_region:
            return answer | {"words": "", "problem": False}
        if len(draft.masks) == 1 and not draft.box and not (draft.mesh and draft.mesh_is_region):
            words = "One mask so far. Paint the same thing on a photograph from another side."
            return answer | {"words": words, "problem": False}
        try:
            region = region_overlay.build_cached(opened, region_of(draft, drafts, key))
        except InputError as problem:
            return answer | {"words": region_overlay.sentence(problem), "problem": True}
        if opened.place.trained:
            self._render_depths(opened)
        found = region_overlay.outlines(opened, region)
        overlays = {name: region_overlay.drawn(mask) for name, mask in found.masks.items()}
        view = data.get("view")
        if view:
            answer["large"] = region_overlay.large(opened, region, opened.capture.view(str(view)), LARGE)
        complete = found.complete or not opened.place.trained
        return answer | {
            "overlays": overlays,
            "words": found.words,
            "problem": found.problem,
            "complete": complete,
        }

    @answering
    def region_in(self, data: dict) -> dict:
        """{"large"}: the draft's region in the photograph {"view"}, null where it is not seen or is none."""
        opened = self.opened(data)
        drafts, key, draft = self.draft(data)
        try:
            region = region_overlay.build_cached(opened, region_of(draft, drafts, key))
        except InputError:
            return {"large": None}
        return {"large": region_overlay.large(opened, region, opened.capture.view(str(data["view"])), LARGE)}


def _mask_png(url: str, size: tuple[int, int]) -> bytes:
    """What a browser painted, white on black in the photograph's own size. Raises InputError."""
    if not isinstance(url, str) or not url.startswith("data:image/png;base64,") or len(url) > MAX_MASK:
        raise InputError("what was painted did not arrive as a PNG of a sensible size: paint again")
    return image_sandbox.mask(url.partition(",")[2], size)
