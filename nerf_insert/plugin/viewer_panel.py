"""What `ns-train nerf-insert` and `ns-viewer` show beside the picture: the edit's words, and a switch for
every layer."""

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
    """The elements; nerfstudio finds those that are attributes of modules, once. What an edit is told with is
    shown only while there is one (`editing`): the trainer gives the buttons something to do (`on_start_over`,
    `on_preview`, `on_pause`)."""

    def __init__(self, editing: bool) -> None:
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
            hint="How far painting may go from what is there; with Start over",
        )
        self.seed = ViewerNumber(
            "Seed", 0, visible=editing, hint="Start of all that is random; with Start over"
        )
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
        """A switch for each layer, before the viewer is made; those that are there already keep their
        position."""
        self._changed = changed
        for number, entry in enumerate(layers, 1):
            if entry.folder not in self._switches:
                switch = ViewerCheckbox(
                    f"Layer {number}: {entry.name}", entry.enabled, cb_hook=lambda _: changed()
                )
                self._switches[entry.folder] = switch
                setattr(self, f"layer_{number}", switch)

    def is_on(self, entry: LayerEntry) -> bool:
        """A layer that was not listed is the new one, which has joined the scene since."""
        return bool(self._switches.get(entry.folder, self.new_layer).value)

    def switch(self, known: Sequence[str], on: Sequence[str] | None) -> None:
        """Switch on only the layers `on`; none: leave all as they are."""
        for folder in known:
            if on is not None:
                self._switches[folder].value = folder in on

    def describe(self, recipe: Recipe) -> None:
        self.prompt.value = recipe.guide.prompt
        self.seed.value = recipe.seed
        self.strength.value = recipe.schedule.strength

    def changed_recipe(self, recipe: Recipe) -> Recipe:
        """The same edit with the words, strength and seed that the elements show. Raises InputError."""
        data = recipe.to_dict()
        data["guide"] = {**data["guide"], "prompt": str(self.prompt.value)}
        data["schedule"] = {**data["schedule"], "strength": float(self.strength.value)}
        return Recipe.from_dict({**data, "seed": min(max(int(self.seed.value), 0), MAX_SEED)})

    def show_picture(self, png: bytes) -> None:
        """Show a picture to everybody who looks."""
        import base64

        if (server := getattr(self.control, "viser_server", None)) is None:
            return
        text = base64.b64encode(png).decode()
        with server.gui.add_modal("Preview") as shown:
            server.gui.add_markdown(f"![preview](data:image/png;base64,{text})")
            close = server.gui.add_button("Close")
            close.on_click(lambda _: shown.close())
