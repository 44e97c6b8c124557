"""The splats that browsers draw themselves while the 3D view is moved."""

from __future__ import annotations

from nerf_insert.app.live_splats import LiveSplats, shown_layers
from nerf_insert.app.services.common import Answer, Service, answer_errors


class SplatService(Service):
    """Calls about the scene's splats."""

    @answer_errors
    def splats(self, data: Answer) -> Answer:
        """Describe the scene's splats: {"key", "on", "about", "orbit", "parts": how many}.

        {"on"}: bits of the layers that are shown. With {"have": key} of the splats that the browser has, only
        these two are answered if they are still the scene's. Without splats, {"key": null}. Making them for
        the first time takes seconds, and for each layer some more.
        """
        open_scene = self.open_scene(data)
        if not open_scene.location.trained:
            return {"key": None}
        packed = self._live_splats.setdefault(open_scene, LiveSplats()).of(open_scene)
        if packed is None:
            return {"key": None}
        answer = {"key": packed.key, "on": shown_layers(open_scene.scene)}
        if data.get("have") == packed.key:
            return answer
        return {**answer, "about": packed.about, "orbit": packed.orbit, "parts": len(packed.parts)}

    @answer_errors
    def splats_part(self, data: Answer) -> Answer:
        """Return the part {"number"} of the splats {"key"}: {"data": base64}, or {"stale": true}."""
        open_scene = self.open_scene(data)
        packed = self._live_splats.setdefault(open_scene, LiveSplats()).latest
        number = int(data.get("number", 0))
        if packed is None or packed.key != data.get("key") or not 0 <= number < len(packed.parts):
            return {"stale": True}
        return {"data": packed.parts[number]}
