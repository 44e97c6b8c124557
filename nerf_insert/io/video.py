"""H.264 video that plays everywhere: yuv420p, even sizes, the index at the front."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from nerf_insert.errors import RunError
from nerf_insert.io.files import replacing
from nerf_insert.io.images import to_uint8

if TYPE_CHECKING:
    from av.container import OutputContainer

BT709 = 1  # the number of this color matrix, and of its primaries and transfer curve, in H.264


class VideoWriter:
    """Writes an MP4 frame by frame.

    The file appears under its name when the `with` block ends without an exception, and not at all otherwise.

    Args:
        path: The file.
        fps: Frames per second.
        size: (width, height). An odd one is padded by repeating the last column or row.
        quality: x264's constant rate factor: 0 is lossless, 18 looks lossless, 28 is small.

    Raises:
        RunError: The file cannot be written.

    Example:
        >>> with VideoWriter("orbit.mp4", 24, (640, 480)) as video:
        ...     video.write(image)
    """

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int], quality: int = 18) -> None:
        self.path, self.fps, self.size, self.quality = Path(path), fps, size, quality
        self.frames = 0

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            self.temporary = stack.enter_context(replacing(self.path))
            try:
                self.container = self._open()
            except (OSError, ValueError, RuntimeError) as error:
                raise self._failure(error) from error
            stack.callback(self.container.close)  # twice does no harm
            self.stack = stack.pop_all()
        return self

    def _open(self) -> OutputContainer:
        import av

        container = av.open(str(self.temporary), "w", format="mp4", options={"movflags": "faststart"})
        self.stream = container.add_stream("libx264", rate=Fraction(self.fps).limit_denominator(1000))
        self.stream.width, self.stream.height = (n + n % 2 for n in self.size)
        self.stream.pix_fmt = "yuv420p"
        self.stream.options = {"crf": str(self.quality)}
        context = self.stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        return container

    def write(self, image: Float[Tensor, "H W 3"]) -> None:
        """Append one frame, sRGB in 0..1.

        Raises:
            ValueError: The frame has another size than the video.
            RunError: The file cannot be written.
        """
        import av

        width, height = self.size
        if tuple(image.shape) != (height, width, 3):
            raise ValueError(f"a frame of {tuple(image.shape)} in a video of {width}x{height}")
        array = to_uint8(image).cpu().numpy()
        array = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts = self.frames
            self.container.mux(self.stream.encode(frame))
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.stack:  # `replacing` sees an exception raised here, or the one that is given to it
            if error is not None:
                raise error
            try:
                self.container.mux(self.stream.encode())
                self.container.close()
            except (OSError, ValueError, RuntimeError) as failure:
                raise self._failure(failure) from failure

    def _failure(self, error: Exception) -> RunError:
        reason = getattr(error, "strerror", None) or error
        return RunError(
            f"cannot write the video {self.path}: {reason}; choose another folder or write images"
        )
