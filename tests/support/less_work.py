"""Less work for tests that look at something else: a coarse search for light, small bases.

`replace` is what sets an attribute: that of a `monkeypatch`, or setattr in a process of a test's own.
"""

import dataclasses
import importlib

COARSE = {
    "inpaint.mesh.inpainter.SURFACE_CELLS": 80,
    "editing.shades.CELLS": 64,
    "lighting.removed_shadow.CELLS": 64,
    "lighting.new_surface.CELLS": 48,
    "lighting.scene_light.CELLS": 80,
    "lighting.scene_light.SAMPLES": 700,
    "lighting.shadow_fit.LOOKED_AT": 2000,
    "lighting.shadow_fit.SAMPLES": 700,
    "lighting.light_fit.KEY_SAMPLES": 4,
    "lighting.light_fit.SEARCHED": (10.0,),
    "lighting.light_fit.TURNS": ((4.0, 2.0),),
    "lighting.light_samples.OFFERED": 2000,
    "lighting.light_samples.SAMPLES": 700,
    "lighting.estimation.SEARCHED": 350,
    "lighting.estimation.SEARCH_DIRECTIONS": 64,
    "lighting.estimation.MAX_KEYS": 1,
    "lighting.shading.MAX_SAMPLES": 2000,
    "lighting.light_parts.COARSE": 1 / 12,
    "lighting.shade_bake.FINE": 1 / 40,
    "lighting.light_parts.KEY_SAMPLES": 12,
}


def coarse_light(replace=setattr):
    """Search for light, and compute shadows, in a third of the time: as everywhere but at fewer places."""
    for target, value in COARSE.items():
        module, name = target.rsplit(".", 1)
        replace(importlib.import_module(f"nerf_insert.{module}"), name, value)


def small_bases(replace=setattr):
    """Train small bases. One of ordinary size takes a second a step here, and fog, which a short training
    leaves, is long to look through in ordinary steps."""
    from nerf_insert.fields import scene_field
    from nerf_insert.fields.hash_field import FieldConfig

    small = FieldConfig(n_levels=4, log2_hashmap_size=12, width=16)
    replace(FieldConfig.__init__, "__defaults__", dataclasses.astuple(small))
    replace(scene_field, "STEP", 1 / 32)
