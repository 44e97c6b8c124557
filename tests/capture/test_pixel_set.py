"""The pixels to train on: what they take, whatever the lenses."""

import torch

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.geometry.cameras import Camera


def test_a_pixel_takes_three_bytes_whatever_its_lens():
    images = [torch.zeros(120, 160, 3, dtype=torch.uint8)] * 8
    for own in (0.0, 0.01):
        lens = (own, 0.0, 0.0, 0.0, 0.0, 0.0)
        cameras = [
            Camera(torch.eye(3, 4), 150 + own * k, 150.0, 80.0, 60.0, 160, 120, lens) for k in range(8)
        ]
        pixels = PixelSet(cameras, images)
        tensors = [value for value in vars(pixels).values() if torch.is_tensor(value)]
        held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        assert 3 <= held / len(pixels) < 3.02  # besides pixels, a pose and a lens a photograph
