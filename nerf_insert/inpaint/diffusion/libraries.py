"""The libraries of the extra `diffusion`: check that they are installed, and silence them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from logging import CRITICAL

from nerf_insert.inpaint.diffusion.options import DiffusionOptions
from nerf_insert.runtime.extras import require


def check_libraries(options: DiffusionOptions) -> None:
    """Check that the libraries of the extra `diffusion` are installed, without importing them.

    Raises:
        InputError: One is missing; the message gives the command that installs it.
    """
    modules = ["diffusers", "transformers", "accelerate", "huggingface_hub"]
    for module in [*modules, "peft"] if options.lora else modules:
        require(module, "diffusion")


@contextlib.contextmanager
def silence_libraries() -> Iterator[None]:
    """Silence the log messages and progress bars of diffusers and transformers for a while."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    loggers = (diffusers_logging, transformers_logging)
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity(CRITICAL)  # errors are raised as exceptions, too
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)
            logger.enable_progress_bar()
