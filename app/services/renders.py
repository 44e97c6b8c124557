"""Renders of the scene, and the mesh that is moved in them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from nerf_insert.app import mesh_overlay, orbit_view, region_overlay
from nerf_insert.app.drafts import Draft
from nerf_insert.app.form_values import parse_mesh_pose
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.services.common import Answer, Service, answer_errors
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera

MAX_WINDOWS = 10_000  # whose latest render is remembered
DROP_WIDTH = 640  # pixels of the image in which a drop is located


class RenderService(Service):
    """Calls about renders and placing."""

    @answer_errors
    def render(self, data: Answer) -> Answer:
        """Render the scene, {"width"} pixels wide, from {"orbit"} or the photograph {"view"}.

        {"what"}: edited, before or depth. With {"mesh": true} the draft's mesh and its handles are added.
        Answers {"url", "width", "height", "seconds"}, or {"stale": true} once the window {"tab"} has asked
        for another {"turn"}.
        """
        open_scene = self.open_scene(data)
        camera = self._camera(open_scene, data, min(int(data.get("width", 320)), orbit_view.MAX_WIDTH))
        window, turn = str(data.get("tab")), data.get("turn")
        if turn is not None:
            if len(self._latest_render) > MAX_WINDOWS:
                self._latest_render.clear()
            self._latest_render[window] = turn
        rendered = orbit_view.render(
            open_scene,
            camera,
            str(data.get("what", "edited")),
            lambda: turn is None or self._latest_render.get(window) == turn,
        )
        if rendered is None:
            return {"stale": True}
        answer = {
            "url": rendered.url,
            "width": camera.width,
            "height": camera.height,
            "seconds": round(rendered.seconds, 3),
        }
        if data.get("mesh"):
            answer |= self._mesh_in(open_scene, data, camera, rendered.depth)
        return answer

    @answer_errors
    def mesh(self, data: Answer) -> Answer:
        """Return the draft's mesh in the photograph {"view"}: {"mesh": PNG or null, "handles"}."""
        open_scene = self.open_scene(data)
        view = open_scene.capture.view(str(data.get("view", "")))
        width = min(int(data.get("width", 480)), orbit_view.MAX_WIDTH)
        camera = view.camera.scaled(width / view.camera.width)
        trained = open_scene.location.trained
        depth = region_overlay.resize_depth(open_scene.depth(view), camera) if trained else None
        return self._mesh_in(open_scene, data, camera, depth)

    @answer_errors
    def orbit_of(self, data: Answer) -> Answer:
        """Return the orbit that looks from where the photograph {"view"} was taken."""
        open_scene = self.open_scene(data)
        orbit = orbit_view.orbit_at_view(open_scene, open_scene.capture.view(str(data["view"])).camera)
        return {"yaw": orbit.yaw, "pitch": orbit.pitch, "distance": orbit.distance}

    @answer_errors
    def drop(self, data: Answer) -> Answer:
        """Stand {"what"} (mesh or box) on the surface at {"x"}, {"y"} of {"view"} or {"orbit"}.

        x and y are fractions of the image's width and height. Answers {"mesh_pose", "box"}.
        """
        open_scene = self.open_scene(data)
        drafts, key, draft = self.draft(data)
        mesh, box = (draft.mesh, None) if data.get("what") == "mesh" else (None, draft.box)
        if mesh is None and box is None:
            raise InputError("There is nothing to place yet: upload a mesh, or add a box.")
        camera = self._camera(open_scene, data, DROP_WIDTH)
        point = mesh_overlay.surface_at(open_scene, camera, float(data["x"]), float(data["y"]))
        if mesh is not None:
            path = drafts.file(key, "mesh", mesh)
            pose = mesh_overlay.drop_mesh(open_scene, path, draft.mesh_pose, point)
            draft = drafts.change(key, mesh_pose=pose)
        elif box is not None:
            draft = drafts.change(key, box=mesh_overlay.drop_box(open_scene, box, point))
        return _placement(draft)

    @answer_errors
    def move(self, data: Answer) -> Answer:
        """Change the mesh's {"translate"}, {"rotate"} or {"scale"}; answers {"mesh_pose", "box"}.

        Changes with the same {"drag"}, an ID, are one undo step.
        """
        drafts, key, draft = self.draft(data)
        if not draft.mesh:
            raise InputError("There is no mesh to move: upload one.")
        changes = {k: data[k] for k in ("translate", "rotate", "scale") if data.get(k) is not None}
        pose = parse_mesh_pose({**draft.mesh_pose.__dict__, **changes})
        drag = str(data["drag"]) if data.get("drag") else None
        return _placement(drafts.change(key, drag=drag, mesh_pose=pose))

    @answer_errors
    def undo(self, data: Answer) -> Answer:
        """Undo the last change of the region: {"how": click, paint, mesh or box, "view": name or null}."""
        drafts, key, _ = self.draft(data)
        how, view = drafts.undo(key)
        return {"how": how, "view": view}

    def _mesh_in(
        self, open_scene: OpenScene, data: Answer, camera: Camera, depth: Float[Tensor, "H W"] | None
    ) -> Answer:
        drafts, key, draft = self.draft(data)
        if not draft.mesh:
            return {"mesh": None, "handles": {}}
        path = drafts.file(key, "mesh", draft.mesh)
        return {
            "mesh": mesh_overlay.draw_mesh(path, draft.mesh_pose, camera, depth, open_scene.capture.origin),
            "handles": mesh_overlay.handles(open_scene, path, draft.mesh_pose, camera),
            **_placement(draft),
        }

    def _camera(self, open_scene: OpenScene, data: Answer, width: int) -> Camera:
        if data.get("view"):
            camera = open_scene.capture.view(str(data["view"])).camera
            return camera.scaled(min(1.0, width / camera.width))
        return orbit_view.orbit_camera(open_scene, orbit_view.Orbit.parse(data.get("orbit") or {}), width)


def _placement(draft: Draft) -> Answer:
    return {"mesh_pose": draft.mesh_pose.__dict__, "box": draft.box.__dict__ if draft.box else None}
