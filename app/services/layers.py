"""The scene's layers."""

from __future__ import annotations

from nerf_insert.app.services.common import Service, answering
from nerf_insert.errors import InputError
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene


class Layering(Service):
    @answering
    def layers(self, data: dict) -> dict:
        """{"layers": [{"number", "name", "enabled", "about"}], "can_undo"}, bottom to top."""
        place = self.place(data)
        if not place.trained:
            return {"layers": [], "can_undo": False}
        scene = Scene.open(place.folder)
        rows = [
            {"number": k, "name": entry.name, "enabled": entry.enabled, "about": about(scene, entry)}
            for k, entry in enumerate(scene.layers, 1)
        ]
        return {"layers": rows, "can_undo": scene.can_undo}

    @answering
    def layer_action(self, data: dict) -> dict:
        """{"action"}: enable, disable, remove, undo, move {"to"} or rename {"name"} the layer {"number"}."""
        action, number = str(data.get("action")), int(data.get("number") or 0)
        scene = Scene.open(self.place(data).folder)
        with scene.locked():
            if action in ("enable", "disable"):
                scene.enable(number, action == "enable")
            elif action == "remove":
                scene.remove(number)
            elif action == "move":
                scene.move(number, int(data["to"]))
            elif action == "rename":
                scene.rename(number, str(data["name"])[:60])
            elif action == "undo":
                scene.undo()
            else:
                raise InputError("a layer can be enabled, disabled, moved, renamed and removed")
        return self.layers(data)


def about(scene: Scene, entry) -> str:
    """A few words on a layer."""
    try:
        recipe = Recipe.load(scene.layer_folder(entry) / "recipe.yaml")
    except InputError:
        return "its recipe is damaged"
    kind = recipe.region.keyword
    return f"{kind}, {recipe.inpainter}, seed {recipe.seed}"
