"""Which photographs are compared with which: neighbors in a video, likely partners, or all with all.

Likely partners are found by VLAD (Jegou et al. 2010): the residuals of a photograph's SIFT descriptors to a
small vocabulary that is clustered from the photographs themselves, so that no vocabulary has to be
downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

ALL_WITH_ALL = 100  # photographs up to which every pair is compared
NEXT = 10  # following frames of a video that each frame is compared with
FAR_NEXT = (16, 32, 64)  # frames farther on
LOOP_PARTNERS = 6  # of a frame, for closing loops
PARTNERS = 40  # of one of many photographs
WORDS = 64  # of the vocabulary
PER_PHOTOGRAPH = 400  # descriptors that the vocabulary is made from
MOST_DESCRIPTORS = 1500  # of a photograph, evenly chosen, that describe it
ITERATIONS = 12  # of k-means

Pair = tuple[int, int]


def choose_pairs(
    groups: Sequence[str], descriptors: Sequence[UInt8[np.ndarray, "_ 128"]], seed: int
) -> list[Pair]:
    """Choose the pairs of photographs to compare, as (smaller index, larger index), ascending.

    Args:
        groups: For each photograph the video that it is from, in order of time; "" for single photographs.
        descriptors: The SIFT descriptors of each photograph.
        seed: Of the vocabulary.
    """
    count = len(groups)
    pairs: set[Pair] = set()
    sequential = all(groups)
    if not sequential and count <= ALL_WITH_ALL:
        return [(a, b) for a in range(count) for b in range(a + 1, count)]
    if sequential:
        for a in range(count):
            reach = [*range(1, NEXT + 1), *FAR_NEXT]
            pairs |= {(a, a + k) for k in reach if a + k < count and groups[a] == groups[a + k]}
    similarity = vlad_similarity(descriptors, seed)
    partners = LOOP_PARTNERS if sequential else PARTNERS
    for a in range(count):
        order = [int(b) for b in np.argsort(-similarity[a], kind="stable") if b != a]
        if sequential:  # those nearby are compared already
            order = [b for b in order if abs(a - b) > NEXT or groups[a] != groups[b]]
        pairs |= {(min(a, b), max(a, b)) for b in order[:partners]}
    return sorted(pairs)


def vlad_similarity(descriptors: Sequence[UInt8[np.ndarray, "_ 128"]], seed: int) -> Float[np.ndarray, "N N"]:
    """Return the cosine similarity of the VLAD of each two photographs."""
    rng = np.random.default_rng(seed)
    sample = [_rooted(d[rng.permutation(len(d))[:PER_PHOTOGRAPH]]) for d in descriptors]
    words = _k_means(np.concatenate(sample), WORDS, rng)
    vectors = np.zeros((len(descriptors), len(words), 128), np.float32)
    for k, all_of_it in enumerate(descriptors):
        own = _rooted(all_of_it)
        if len(own):
            nearest = _nearest(own, words)
            np.add.at(vectors[k], nearest, own - words[nearest])
    norms = np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors = (vectors / np.maximum(norms, 1e-9)).reshape(len(descriptors), -1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return vectors @ vectors.T


def _rooted(descriptors: UInt8[np.ndarray, "n 128"]) -> Float[np.ndarray, "n 128"]:
    """RootSIFT (Arandjelovic and Zisserman 2012), whose Euclidean distance compares better."""
    total = np.maximum(descriptors.sum(1, dtype=np.float32), 1)
    return np.sqrt(descriptors.astype(np.float32) / total[:, None])


def _k_means(
    points: Float[np.ndarray, "n d"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "k d"]:
    if not len(points):
        return np.zeros((1, points.shape[1]), np.float32)
    centers = points[rng.choice(len(points), min(count, len(points)), replace=False)].copy()
    for _ in range(ITERATIONS):
        nearest = _nearest(points, centers)
        sizes = np.bincount(nearest, minlength=len(centers))
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, points)
        centers[sizes > 0] = sums[sizes > 0] / sizes[sizes > 0, None]
    return centers


def _nearest(points: Float[np.ndarray, "n d"], centers: Float[np.ndarray, "k d"]) -> np.ndarray:
    return np.argmax(points @ centers.T - 0.5 * (centers**2).sum(1), axis=1)
