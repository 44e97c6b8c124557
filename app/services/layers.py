"""The scene's layers: list, switch, reorder, rename, remove, undo."""

from __future__ import annotations

from nerf_insert.app.services.common import Answer, Service, answer_errors
from nerf_insert.errors import InputError
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene

MAX_NAME = 60  # characters


class LayerService(Service):
    """Calls about layers."""

    @answer_errors
    def layers(self, data: Answer) -> Answer:
        """List the layers, the lowest first.

        Answers {"layers": [{"number", "name", "enabled", "about", "strength"}], "can_undo"}. Only shade
        layers have a strength; that of others is None.
        """
        location = self.location(data)
        if not location.trained:
            return {"layers": [], "can_undo": False}
        scene = Scene.open(location.folder)
        rows = [
            {
                "number": k,
                "name": entry.name,
                "enabled": entry.enabled,
                "about": describe_layer(scene, entry),
                "strength": None if entry.shade_of is None else entry.strength,
            }
            for k, entry in enumerate(scene.layers, 1)
        ]
        return {"layers": rows, "can_undo": scene.can_undo}

    @answer_errors
    def layer_action(self, data: Answer) -> Answer:
        """Change the layer {"number"} and answer as `layers` does.

        {"action"}: enable, disable, remove, move {"to"}, rename {"name"}, fade {"strength"}; or undo, which
        takes no number.
        """
        action, number = str(data.get("action")), int(data.get("number") or 0)
        scene = Scene.open(self.location(data).folder)
        with scene.locked():
            if action in ("enable", "disable"):
                scene.enable(number, action == "enable")
            elif action == "remove":
                scene.remove(number)
            elif action == "move":
                scene.move(number, int(data["to"]))
            elif action == "rename":
                scene.rename(number, str(data["name"])[:MAX_NAME])
            elif action == "fade":
                scene.fade(number, float(data["strength"]))
            elif action == "undo":
                scene.undo()
            else:
                raise InputError(
                    "a layer has these actions: enable, disable, fade, move, rename, remove, undo"
                )
        return self.layers(data)


def describe_layer(scene: Scene, entry: LayerEntry) -> str:
    """Return the layer's kind of region, its inpainter and its seed in a few words."""
    if entry.shade_of is not None:
        return "shadow and light thrown back" if scene.is_shown(entry) else "shown with its object only"
    try:
        recipe = Recipe.load(scene.recipe_file(entry))
    except InputError:
        return "damaged recipe"
    return f"{recipe.region.keyword}, {recipe.inpainter}, seed {recipe.seed}"
