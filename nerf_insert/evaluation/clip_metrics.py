"""CLIP metrics of an edit, as Instruct-NeRF2NeRF (Haque et al. 2023) defines them.

With E the unit embedding of an image or text, o_i and e_i the original and edited scene from camera i:

    direction      cos(E(e_i) - E(o_i), E(text after) - E(text before)), from StyleGAN-NADA
    consistency    cos(E(e_i) - E(o_i), E(e_i+1) - E(o_i+1)), for neighbors on the path

Images are float [H, W, 3], sRGB in 0..1. B is a number of images, T of texts, D the embedding's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.io.images import to_uint8

Embed = Callable[[list[Tensor], list[str]], tuple[Tensor, Tensor]]  # unit vectors [B, D] and [T, D]
MIN_CHANGE = 1e-6  # of an embedding, for it to have a direction


def load_clip(name: str | None = None) -> tuple[Embed | None, str]:
    """Load CLIP as a function of images and texts. Nothing is downloaded.

    Args:
        name: A folder, or a name of `nerf-insert models`; None: the one that it calls clip.

    Returns:
        A function from images and texts to their unit embeddings; or None, and why there is none.
    """
    from nerf_insert.hub.weights import find_weights, weight_files

    try:
        folder = find_weights(name or "clip", "metric")
        weight_files(folder)
    except InputError as error:
        return None, str(error)
    try:
        return _load(folder), ""
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        return None, f"CLIP's weights in {folder} cannot be used: {error}"


def _load(folder: Path) -> Embed:
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(str(folder), use_safetensors=True, local_files_only=True).eval()
    processor = CLIPImageProcessor.from_pretrained(str(folder), local_files_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)

    @torch.no_grad()
    def embed(images: list[Tensor], texts: list[str]) -> tuple[Tensor, Tensor]:
        arrays = [to_uint8(image).cpu().numpy() for image in images]
        words = tokenizer(texts or [""], padding=True, truncation=True, return_tensors="pt")
        out = model(
            input_ids=words.input_ids,
            attention_mask=words.attention_mask,
            pixel_values=processor(images=arrays, return_tensors="pt").pixel_values,
        )
        return unit(out.image_embeds.float()), unit(out.text_embeds.float())

    return embed


@dataclass
class ClipDirections:
    """Both metrics over a sequence of views."""

    embed: Embed
    captions: tuple[str, str] | None  # of the scene before and after
    text_cosines: list[float] = field(default_factory=list)
    neighbor_cosines: list[float] = field(default_factory=list)
    previous: Tensor | None = field(default=None, repr=False)

    def add(self, base: Float[Tensor, "H W 3"], edited: Float[Tensor, "H W 3"]) -> None:
        """Add the next view: the scene before the edit and after it."""
        images, texts = self.embed([base, edited], list(self.captions or ()))
        change = images[1] - images[0]
        if float(change.norm()) < MIN_CHANGE:  # the view does not show the edit
            self.previous = None
            return
        if self.captions:
            self.text_cosines.append(cosine(change, texts[1] - texts[0]))
        if self.previous is not None:
            self.neighbor_cosines.append(cosine(change, self.previous))
        self.previous = change

    @property
    def direction(self) -> float | None:
        """Mean cosine between the images' change and the texts'; None without captions or change."""
        return sum(self.text_cosines) / len(self.text_cosines) if self.text_cosines else None

    @property
    def consistency(self) -> float | None:
        """Mean cosine between the changes of neighboring views; None if no two neighbors show the edit."""
        return sum(self.neighbor_cosines) / len(self.neighbor_cosines) if self.neighbor_cosines else None


def cosine(a: Float[Tensor, " D"], b: Float[Tensor, " D"]) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def unit(vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Scale vectors to unit length."""
    return torch.nn.functional.normalize(vectors, dim=-1)
