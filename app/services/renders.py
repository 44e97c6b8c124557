"""Renders of the scene, and the mesh that is moved in them."""

from __future__ import annotations

from nerf_insert.app import mesh_overlay, orbit_view, region_overlay
from nerf_insert.app.drafts import Draft
from nerf_insert.app.form_values import placing_of
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.services.common import Service, answering
from nerf_insert.errors import InputError

MOST_TURNS = 10_000


class Viewing(Service):
    @answering
    def render(self, data: dict) -> dict:
        """The scene from {"orbit"} or {"view"}, {"width"} pixels wide: {"url", "width", "height", "seconds"};
        {"what"}: edited, before or depth. {"stale": true} once the window {"tab"} asks for another {"turn"}.
        With {"mesh": true} also the draft's mesh and its handles."""
        opened = self.opened(data)
        width = min(int(data.get("width", 320)), orbit_view.WIDEST)
        camera = self._camera(opened, data, width)
        browser, turn = str(data.get("tab")), data.get("turn")
        if turn is not None:
            if len(self._turns) > MOST_TURNS:
                self._turns.clear()
            self._turns[browser] = turn
        made = orbit_view.render(
            opened,
            camera,
            str(data.get("what", "edited")),
            lambda: turn is None or self._turns.get(browser) == turn,
        )
        if made is None:
            return {"stale": True}
        url, rendered, seconds = made
        answer = {"url": url, "width": camera.width, "height": camera.height, "seconds": round(seconds, 3)}
        if data.get("mesh"):
            answer |= self._mesh_in(opened, data, camera, rendered.depth)
        return answer

    @answering
    def mesh(self, data: dict) -> dict:
        """The draft's mesh in the photograph {"view"}: {"mesh": PNG or null, "handles"}."""
        opened = self.opened(data)
        view = opened.capture.view(str(data.get("view", "")))
        camera = view.camera.scaled(min(int(data.get("width", 480)), orbit_view.WIDEST) / view.camera.width)
        depth = region_overlay.enlarged(opened.depth(view), camera) if opened.place.trained else None
        return self._mesh_in(opened, data, camera, depth)

    @answering
    def orbit_of(self, data: dict) -> dict:
        """The orbit that looks from where the photograph {"view"} was taken."""
        opened = self.opened(data)
        orbit = orbit_view.near_view(opened, opened.capture.view(str(data["view"])).camera)
        return {"yaw": orbit.yaw, "pitch": orbit.pitch, "distance": orbit.distance}

    @answering
    def drop(self, data: dict) -> dict:
        """Stand {"what"}, mesh or box, on the surface at {"x"}, {"y"} (shares) of {"view"} or {"orbit"}."""
        opened = self.opened(data)
        drafts, key, draft = self.draft(data)
        if getattr(draft, "mesh" if data.get("what") == "mesh" else "box") is None:
            raise InputError("There is nothing to place yet: upload a mesh, or set a box.")
        camera = self._camera(opened, data, 640)
        point = mesh_overlay.surface_at(opened, camera, float(data["x"]), float(data["y"]))
        if data["what"] == "mesh":
            path = drafts.file(key, "mesh", draft.mesh)
            draft = drafts.change(key, mesh_overlay=mesh_overlay.dropped(opened, path, draft.placing, point))
        else:
            draft = drafts.change(key, box=mesh_overlay.dropped_box(opened, draft.box, point))
        return _where(draft)

    @answering
    def move(self, data: dict) -> dict:
        """Change where the mesh stands: {"translate"}, {"rotate"}, {"scale"}."""
        drafts, key, draft = self.draft(data)
        if not draft.mesh:
            raise InputError("There is no mesh to move: upload one.")
        given = {k: data[k] for k in ("translate", "rotate", "scale") if data.get(k) is not None}
        now = placing_of({**draft.placing.__dict__, **given})
        return _where(drafts.change(key, mesh_overlay=now))

    @answering
    def undo(self, data: dict) -> dict:
        """Take back the last change of where the edit is: {"how": how that was marked, "view": where}."""
        drafts, key, _ = self.draft(data)
        how, view = drafts.undo(key)
        return {"how": how, "view": view}

    def _mesh_in(self, opened: OpenScene, data: dict, camera, depth) -> dict:
        drafts, key, draft = self.draft(data)
        if not draft.mesh:
            return {"mesh": None, "handles": {}}
        path = drafts.file(key, "mesh", draft.mesh)
        return {
            "mesh": mesh_overlay.picture(path, draft.placing, camera, depth),
            "handles": mesh_overlay.handles(opened, path, draft.placing, camera),
            **_where(draft),
        }

    def _camera(self, opened: OpenScene, data: dict, width: int):
        if data.get("view"):
            camera = opened.capture.view(str(data["view"])).camera
            return camera.scaled(min(1.0, width / camera.width))
        return orbit_view.camera_of(opened, orbit_view.Orbit.of(data.get("orbit") or {}), width)


def _where(draft: Draft) -> dict:
    where = {"placing": draft.placing.__dict__}
    return {**where, "box": draft.box.__dict__ if draft.box else None}
