"""Imports all that commands need and loads the compiled kernels, for processes that are forked afterwards.

That takes five seconds. A process whose libraries have begun threads must not be forked: they begin none.
"""

import importlib
import os

os.environ["OMP_NUM_THREADS"] = "1"

COMMANDS = "clean edit export light preview render train"
for name in (
    *(f"cli.commands.{name}" for name in COMMANDS.split()),
    "editing.loop",
    "editing.shades",
    "inpaint.fill.inpainter",
    "inpaint.mesh.inpainter",
    "rendering.outputs",
    "training.scene_trainer",
):
    importlib.import_module(f"nerf_insert.{name}")
importlib.import_module("scipy.spatial")
importlib.import_module("nerf_insert.runtime.kernel_warmup").compile_all()
