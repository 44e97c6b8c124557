"""The controls that `ns-train nerf-insert` and `ns-viewer` show: the edit's settings, and layer switches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerCheckbox,
    ViewerControl,
    ViewerNumber,
    ViewerSlider,
    ViewerText,
)
from torch import nn

from nerf_insert.scene.recipe import MAX_SEED, Recipe
from nerf_insert.scene.scene import LayerEntry


class EditPanel(nn.Module):
    """The viewer's elements; nerfstudio finds them once, as attributes of a module.

    The trainer sets what the buttons do: `on_start_over`, `on_preview` and `on_pause`.
    """

    def __init__(self, editing: bool) -> None:
        """Create the elements; those of an edit are hidden unless `editing`."""
        super().__init__()
        self.prompt = ViewerText(
            "Prompt", "", visible=editing, hint="What to paint; takes effect with Start over"
        )
        self.strength = ViewerSlider(
            "Strength",
            1.0,
            0.05,
            1.0,
            0.05,
            visible=editing,
            hint="How far painting may depart from what is there; takes effect with Start over",
        )
        self.seed = ViewerNumber("Seed", 0, visible=editing, hint="Random seed; takes effect with Start over")
        self.start_over = ViewerButton("Start over", lambda _: self.on_start_over(), visible=editing)
        self.preview = ViewerButton(
            "Preview: paint three views", lambda _: self.on_preview(), visible=editing
        )
        self.pause = ViewerButton("Pause / go on", lambda _: self.on_pause(), visible=editing)
        self.new_layer = ViewerCheckbox(
            "The new layer", True, visible=editing, cb_hook=lambda _: self._changed()
        )
        self.control = ViewerControl()
        self._switches: dict[str, ViewerCheckbox] = {}
        self._changed: Callable[[], None] = lambda: None
        self.on_start_over = self.on_preview = self.on_pause = lambda: None

    def list_layers(self, layers: Sequence[LayerEntry], changed: Callable[[], None]) -> None:
        """Add a switch for each layer, before the viewer is created; existing ones keep their state."""
        self._changed = changed
        for number, entry in enumerate(layers, 1):
            if entry.folder not in self._switches:
                switch = ViewerCheckbox(
                    f"Layer {number}: {entry.name}", entry.enabled, cb_hook=lambda _: changed()
                )
                self._switches[entry.folder] = switch
                setattr(self, f"layer_{number}", switch)

    def is_on(self, entry: LayerEntry) -> bool:
        """Return whether a layer's switch is on; a layer without one is the new layer, which has its own.

        A shade layer also needs that of the layer whose shadow it is.
        """
        folders = [entry.folder, *([] if entry.shade_of is None else [entry.shade_of])]
        return all(bool(self._switches.get(folder, self.new_layer).value) for folder in folders)

    def switch(self, known: Sequence[str], on: Sequence[str] | None) -> None:
        """Switch on only the layers `on`; None changes nothing."""
        for folder in known:
            if on is not None:
                self._switches[folder].value = folder in on

    def describe(self, recipe: Recipe) -> None:
        """Show the settings of a recipe."""
        self.prompt.value = recipe.guide.prompt
        self.seed.value = recipe.seed
        self.strength.value = recipe.schedule.strength

    def changed_recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the prompt, strength and random seed that the elements show.

        Raises:
            InputError: The recipe cannot have them.
        """
        data = recipe.to_dict()
        data["guide"] = {**data["guide"], "prompt": str(self.prompt.value)}
        data["schedule"] = {**data["schedule"], "strength": float(self.strength.value)}
        return Recipe.from_dict({**data, "seed": min(max(int(self.seed.value), 0), MAX_SEED)})

    def show_image(self, png: bytes) -> None:
        """Show an image to everybody who has the viewer open."""
        import base64

        if (server := getattr(self.control, "viser_server", None)) is None:
            return
        text = base64.b64encode(png).decode()
        with server.gui.add_modal("Preview") as shown:
            server.gui.add_markdown(f"![preview](data:image/png;base64,{text})")
            close = server.gui.add_button("Close")
            close.on_click(lambda _: shown.close())
