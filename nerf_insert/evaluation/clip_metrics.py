"""CLIP, for the two figures that Instruct-NeRF2NeRF (Haque et al. 2023) measures edits by.

With E the unit embedding of a picture or text, o_i and e_i the original and edited scene from camera i:

    direction      cos(E(e_i) - E(o_i), E(text after) - E(text before)), which is from StyleGAN-NADA
    consistency    cos(E(e_i) - E(o_i), E(e_i+1) - E(o_i+1)), for neighbors on the path
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.io.images import to_uint8

Embed = Callable[[list[Tensor], list[str]], tuple[Tensor, Tensor]]  # unit vectors [B, D] and [T, D]
SMALLEST = 1e-6  # change of an embedding that has a direction


def load_clip(name: str | None = None) -> tuple[Embed | None, str]:
    """CLIP as a function of pictures [h, w, 3] (sRGB in 0..1) and texts to their unit embeddings; or None and
    why not. `name`: a folder or a name of `nerf-insert models`. Nothing is downloaded."""
    from nerf_insert.errors import InputError
    from nerf_insert.hub.weights import find, weights_of

    try:
        folder = find(name or "clip", "metric")
        weights_of(folder)
    except InputError as error:
        return None, str(error)
    try:
        return _load(folder), ""
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        return None, f"CLIP's weights in {folder} cannot be used: {error}"


def _load(folder: Path) -> Embed:
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(str(folder), use_safetensors=True, local_files_only=True).eval()
    eyes = CLIPImageProcessor.from_pretrained(str(folder), local_files_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)

    @torch.no_grad()
    def embed(pictures: list[Tensor], texts: list[str]) -> tuple[Tensor, Tensor]:
        arrays = [to_uint8(picture).cpu().numpy() for picture in pictures]
        words = tokenizer(texts or [""], padding=True, truncation=True, return_tensors="pt")
        out = model(
            input_ids=words.input_ids,
            attention_mask=words.attention_mask,
            pixel_values=eyes(images=arrays, return_tensors="pt").pixel_values,
        )
        return unit(out.image_embeds.float()), unit(out.text_embeds.float())

    return embed


@dataclass
class Directions:
    """Both figures over a sequence of views."""

    embed: Embed
    captions: tuple[str, str] | None  # of the scene before and after
    towards: list[float] = field(default_factory=list)
    along: list[float] = field(default_factory=list)
    before: Tensor | None = field(default=None, repr=False)

    def add(self, base: Float[Tensor, "H W 3"], edited: Float[Tensor, "H W 3"]) -> None:
        pictures, texts = self.embed([base, edited], list(self.captions or ()))
        change = pictures[1] - pictures[0]
        if float(change.norm()) < SMALLEST:  # nothing of the edit is in the picture
            self.before = None
            return
        if self.captions:
            self.towards.append(cosine(change, texts[1] - texts[0]))
        if self.before is not None:
            self.along.append(cosine(change, self.before))
        self.before = change

    @property
    def direction(self) -> float | None:
        return sum(self.towards) / len(self.towards) if self.towards else None

    @property
    def consistency(self) -> float | None:
        return sum(self.along) / len(self.along) if self.along else None


def cosine(a: Float[Tensor, " D"], b: Float[Tensor, " D"]) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def unit(vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return torch.nn.functional.normalize(vectors, dim=-1)
