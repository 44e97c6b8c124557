"""The photographs, what is marked in them, and where the region shows."""

from __future__ import annotations

import base64
from pathlib import Path

from nerf_insert.app import image_sandbox, region_overlay
from nerf_insert.app.draft_to_recipe import region_from_draft
from nerf_insert.app.drafts import Draft, Painted
from nerf_insert.app.messages import as_sentence
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.services.common import Answer, Service, answer_errors
from nerf_insert.errors import InputError
from nerf_insert.io.images import image_size

MAX_MASK = 16 << 20  # bytes of a mask's data URL
MAX_PHOTOGRAPHS = 64  # in one call
MAX_WIDTH = 1600  # pixels of a photograph
TURNS = {3: 180, 6: 90, 8: 270}  # degrees clockwise, by EXIF orientation
STAGE_WIDTH = 480  # pixels of the region's outline on the stage
NO_DEPTH = "Clicks need the 3D scene: build it first (step Open), or paint on the photographs instead."
ONE_MASK = "One mask so far. Paint the same object on a photograph from another side."


class RegionService(Service):
    """Calls about photographs, masks and the region."""

    @answer_errors
    def scene(self, data: Answer) -> Answer:
        """Describe the scene: {"title", "trained", "views": [{"name", "width", "height", "turn"}]}.

        `turn` is by how many degrees clockwise people see the photograph turned, 0 for most.
        """
        open_scene = self.open_scene(data)
        views = [
            {
                "name": v.name,
                "width": v.size[0],
                "height": v.size[1],
                "turn": TURNS.get(v.stored_orientation, 0),
            }
            for v in open_scene.capture.views
        ]
        if open_scene.location.trained:
            self._render_depths(open_scene)
        return {"title": open_scene.location.title, "trained": open_scene.location.trained, "views": views}

    @answer_errors
    def photographs(self, data: Answer) -> Answer:
        """Return the photographs {"names"}, {"width"} pixels wide: {"urls": {name: JPEG}}."""
        open_scene, width = self.open_scene(data), min(int(data.get("width", 176)), MAX_WIDTH)
        names = [str(name) for name in data.get("names", [])][:MAX_PHOTOGRAPHS]
        return {"urls": {name: open_scene.photograph(open_scene.capture.view(name), width) for name in names}}

    @answer_errors
    def mark(self, data: Answer) -> Answer:
        """Save the mask of the photograph {"view"} and list the masked photographs: {"masks"}.

        {"png"} is a data URL that is opaque where the mask is; without one the mask is removed. With {"heal"}
        true it is a stroke to heal under; then the photographs with such strokes are listed.
        """
        open_scene = self.open_scene(data)
        view = open_scene.capture.view(str(data.get("view", "")))
        drafts, key, _ = self.draft(data)
        png = data.get("png")
        kind = painted_kind(data)
        draft = drafts.set_mask(key, view.name, _mask_png(png, view.size) if png else None, kind)
        return {"masks": list(getattr(draft, kind))}

    @answer_errors
    def click(self, data: Answer) -> Answer:
        """Add a click at {"x"}, {"y"} of the photograph {"view"}: {"points", "not_points"}.

        x and y are fractions of the image's width and height. With {"belongs"} false it is on what does not
        belong to the thing. Answers as `points` in `region`.
        """
        open_scene = self.open_scene(data)
        if not open_scene.location.trained:
            raise InputError(NO_DEPTH)
        view = open_scene.capture.view(str(data.get("view", "")))
        drafts, key, draft = self.draft(data)
        belongs = bool(data.get("belongs", True))
        if not belongs and not draft.points:
            raise InputError("Click on the object first, then on what does not belong to it.")
        width, height = image_size(view.path)
        x, y = (min(max(float(data[axis]), 0.0), 1.0 - 1e-6) for axis in "xy")
        pixel = (round(x * width, 1), round(y * height, 1))
        return points_in_images(open_scene, drafts.add_point(key, view.name, pixel, belongs))

    @answer_errors
    def mask(self, data: Answer) -> Answer:
        """Return the mask of the photograph {"view"} and the rays through the other masks in it.

        Answers {"png": data URL or null, "lines": guide lines, "masks": names of the masked photographs}.
        With {"heal"} true the same of strokes to heal under, which need no lines.
        """
        open_scene = self.open_scene(data)
        view = open_scene.capture.view(str(data.get("view", "")))
        drafts, key, draft = self.draft(data)
        kind = painted_kind(data)
        masks = {name: str(drafts.file(key, "masks", file)) for name, file in getattr(draft, kind).items()}
        png = None
        if view.name in masks and Path(masks[view.name]).exists():
            png = "data:image/png;base64," + base64.b64encode(Path(masks[view.name]).read_bytes()).decode()
        lines = region_overlay.guide_lines(open_scene, masks, view) if kind == "masks" else []
        return {"png": png, "lines": lines, "masks": list(masks)}

    @answer_errors
    def region(self, data: Answer) -> Answer:
        """Return where the draft's region shows and whether an edit there can succeed.

        Answers {"overlays": {name: PNG or null}, "large": PNG or null for {"view"}, "words", "problem",
        "complete", "masks", "points", "not_points"}. "complete" is false while occluders are not known in all
        photographs. "masks" lists the photographs that `mark` would.
        """
        open_scene = self.open_scene(data)
        drafts, key, draft = self.draft(data)
        painted = list(getattr(draft, painted_kind(data)))
        answer: Answer = {"overlays": {}, "large": None, "masks": painted, "complete": True}
        answer |= {"words": "", "problem": False, **points_in_images(open_scene, draft)}
        if not draft.has_region:
            return answer
        alone = (
            not draft.points
            and not draft.heal
            and not draft.box
            and not (draft.mesh and draft.mesh_is_region)
        )
        if len(draft.masks) == 1 and alone:
            return answer | {"words": ONE_MASK}
        try:
            region = region_overlay.build_cached(open_scene, region_from_draft(draft, drafts, key))
        except InputError as problem:
            return answer | {"words": as_sentence(problem), "problem": True}
        if open_scene.location.trained:
            self._render_depths(open_scene)
        found = region_overlay.find_overlays(open_scene, region)
        view = data.get("view")
        if view:
            shown = open_scene.capture.view(str(view))
            answer["large"] = region_overlay.draw_in_view(open_scene, region, shown, STAGE_WIDTH)
        return answer | {
            "overlays": {name: region_overlay.draw_mask(mask) for name, mask in found.masks.items()},
            "words": found.words,
            "problem": found.problem,
            "complete": found.complete or not open_scene.location.trained,
        }

    @answer_errors
    def region_in(self, data: Answer) -> Answer:
        """Return the draft's region in the photograph {"view"}: {"large": PNG, or null if not visible}."""
        open_scene = self.open_scene(data)
        drafts, key, draft = self.draft(data)
        try:
            region = region_overlay.build_cached(open_scene, region_from_draft(draft, drafts, key))
        except InputError:
            return {"large": None}
        view = open_scene.capture.view(str(data["view"]))
        return {"large": region_overlay.draw_in_view(open_scene, region, view, STAGE_WIDTH)}


def painted_kind(data: Answer) -> Painted:
    """Return which field of a draft a call about something painted means."""
    return "heal" if data.get("heal") else "masks"


def points_in_images(open_scene: OpenScene, draft: Draft) -> Answer:
    """Return the clicks of a draft in fractions of the images: {"points": {view: [[x, y]]}, "not_points"}."""
    answer: Answer = {}
    for key in ("points", "not_points"):
        answer[key] = {}
        for name, pixels in getattr(draft, key).items():
            width, height = image_size(open_scene.capture.view(name).path)
            answer[key][name] = [[x / width, y / height] for x, y in pixels]
    return answer


def _mask_png(url: object, size: tuple[int, int]) -> bytes:
    """Decode a browser's mask as a PNG, white on black, of `size` (width, height). Raises InputError."""
    if not isinstance(url, str) or not url.startswith("data:image/png;base64,") or len(url) > MAX_MASK:
        raise InputError("the mask did not arrive as a PNG of a sensible size: paint again")
    return image_sandbox.mask(url.partition(",")[2], size)
