"""NeRF-Insert: insert, replace or remove an object in a captured 3D scene.

Scenes
    `make_capture`, `CaptureOptions`, `Scene`, `train_scene`, `import_nerfstudio`, `world_from_nerfstudio`,
    `Capture`, `check_poses`, `LayerEntry`, `sample_path`
Regions, where to edit
    `Points`, `Masks`, `Heal`, `Mesh`, `Box`, `Union`, `Intersection`, `Dilate`
Edits
    `edit`, `edit_steps`, `preview`, `make_recipe`, `Recipe`, `GuideSpec`, `Schedule`
Rendering
    `Camera`, `render`, `render_path`, `layer_stack`, `orbit_cameras`, `interpolate_cameras`, `read_cameras`,
    `read_crop`
Evaluation and export
    `evaluate`, `Evaluation`, `Truth`, `Captions`, `export_dataset`, `export_mesh`, `export_pointcloud`,
    `export_nerfstudio`, `export_splats`, `export_html`
Inpainters
    `Inpainter`, `InpaintView`, `Guide`, `EditContext`
Progress and errors
    `Progress`, `InputError`, `InputWarning`, `RunError`, `Stopped`

Names are imported when they are first used, so that `import nerf_insert` stays light. World coordinates are
those of the capture's transforms.json, in its units; cameras have OpenGL axes; images are sRGB in 0..1,
[H, W, 3].
"""

import importlib
import os
from typing import TYPE_CHECKING

# Idle OpenMP threads that spin keep the cores from the threads that have work: on two cores, with
# anything else running, torch's matrix products take six times as long. Read when torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"

__all__ = [
    "Box",
    "Camera",
    "Captions",
    "Capture",
    "CaptureOptions",
    "Dilate",
    "EditContext",
    "Evaluation",
    "Guide",
    "GuideSpec",
    "Heal",
    "InpaintView",
    "Inpainter",
    "InputError",
    "InputWarning",
    "Intersection",
    "LayerEntry",
    "Masks",
    "Mesh",
    "Points",
    "Progress",
    "Recipe",
    "RunError",
    "Scene",
    "Schedule",
    "Stopped",
    "Truth",
    "Union",
    "check_poses",
    "edit",
    "edit_steps",
    "evaluate",
    "export_dataset",
    "export_html",
    "export_mesh",
    "export_nerfstudio",
    "export_pointcloud",
    "export_splats",
    "import_nerfstudio",
    "interpolate_cameras",
    "layer_stack",
    "make_capture",
    "make_recipe",
    "orbit_cameras",
    "preview",
    "read_cameras",
    "read_crop",
    "render",
    "render_path",
    "sample_path",
    "train_scene",
    "world_from_nerfstudio",
]

if TYPE_CHECKING:
    from nerf_insert.capture.bundled_sample import sample_path as sample_path
    from nerf_insert.capture.camera_crop import read_crop as read_crop
    from nerf_insert.capture.camera_paths import interpolate as interpolate_cameras
    from nerf_insert.capture.camera_paths import read_cameras as read_cameras
    from nerf_insert.capture.capture import Capture as Capture
    from nerf_insert.capture.pose_check.check import check_poses as check_poses
    from nerf_insert.editing.api import edit as edit
    from nerf_insert.editing.api import make_recipe as make_recipe
    from nerf_insert.editing.loop import edit_steps as edit_steps
    from nerf_insert.editing.preview import preview as preview
    from nerf_insert.errors import InputError as InputError
    from nerf_insert.errors import InputWarning as InputWarning
    from nerf_insert.errors import RunError as RunError
    from nerf_insert.errors import Stopped as Stopped
    from nerf_insert.evaluation.edit_metrics import Captions as Captions
    from nerf_insert.evaluation.evaluate import Evaluation as Evaluation
    from nerf_insert.evaluation.evaluate import Truth as Truth
    from nerf_insert.evaluation.evaluate import evaluate as evaluate
    from nerf_insert.export.dataset import export_dataset as export_dataset
    from nerf_insert.export.geometry import export_mesh as export_mesh
    from nerf_insert.export.geometry import export_pointcloud as export_pointcloud
    from nerf_insert.export.html import export_html as export_html
    from nerf_insert.export.splats import export_splats as export_splats
    from nerf_insert.geometry.cameras import Camera as Camera
    from nerf_insert.inpaint.api import EditContext as EditContext
    from nerf_insert.inpaint.api import Inpainter as Inpainter
    from nerf_insert.inpaint.api import InpaintView as InpaintView
    from nerf_insert.inpaint.guide import Guide as Guide
    from nerf_insert.plugin.coordinates import world_from_nerfstudio as world_from_nerfstudio
    from nerf_insert.plugin.export_run import export_run as export_nerfstudio
    from nerf_insert.plugin.import_run import import_scene as import_nerfstudio
    from nerf_insert.reconstruction.make import make_capture as make_capture
    from nerf_insert.reconstruction.options import CaptureOptions as CaptureOptions
    from nerf_insert.regions.spec import Box as Box
    from nerf_insert.regions.spec import Dilate as Dilate
    from nerf_insert.regions.spec import Heal as Heal
    from nerf_insert.regions.spec import Intersection as Intersection
    from nerf_insert.regions.spec import Masks as Masks
    from nerf_insert.regions.spec import Mesh as Mesh
    from nerf_insert.regions.spec import Points as Points
    from nerf_insert.regions.spec import Union as Union
    from nerf_insert.runtime.progress import Progress as Progress
    from nerf_insert.scene.create import train_scene as train_scene
    from nerf_insert.scene.recipe import GuideSpec as GuideSpec
    from nerf_insert.scene.recipe import Recipe as Recipe
    from nerf_insert.scene.recipe import Schedule as Schedule
    from nerf_insert.scene.renders import layer_stack as layer_stack
    from nerf_insert.scene.renders import orbit_cameras as orbit_cameras
    from nerf_insert.scene.renders import render as render
    from nerf_insert.scene.renders import render_path as render_path
    from nerf_insert.scene.scene import LayerEntry as LayerEntry
    from nerf_insert.scene.scene import Scene as Scene

_MODULES = {
    "capture.bundled_sample": ["sample_path"],
    "capture.camera_crop": ["read_crop"],
    "capture.camera_paths": ["interpolate as interpolate_cameras", "read_cameras"],
    "capture.capture": ["Capture"],
    "capture.pose_check.check": ["check_poses"],
    "editing.api": ["edit", "make_recipe"],
    "editing.loop": ["edit_steps"],
    "editing.preview": ["preview"],
    "errors": ["InputError", "InputWarning", "RunError", "Stopped"],
    "evaluation.edit_metrics": ["Captions"],
    "evaluation.evaluate": ["Evaluation", "Truth", "evaluate"],
    "export.dataset": ["export_dataset"],
    "export.geometry": ["export_mesh", "export_pointcloud"],
    "export.html": ["export_html"],
    "export.splats": ["export_splats"],
    "geometry.cameras": ["Camera"],
    "inpaint.api": ["EditContext", "InpaintView", "Inpainter"],
    "inpaint.guide": ["Guide"],
    "plugin.export_run": ["export_run as export_nerfstudio"],
    "plugin.coordinates": ["world_from_nerfstudio"],
    "plugin.import_run": ["import_scene as import_nerfstudio"],
    "reconstruction.make": ["make_capture"],
    "reconstruction.options": ["CaptureOptions"],
    "regions.spec": ["Box", "Dilate", "Heal", "Intersection", "Masks", "Mesh", "Points", "Union"],
    "runtime.progress": ["Progress"],
    "scene.create": ["train_scene"],
    "scene.recipe": ["GuideSpec", "Recipe", "Schedule"],
    "scene.renders": ["layer_stack", "orbit_cameras", "render", "render_path"],
    "scene.scene": ["LayerEntry", "Scene"],
}
_ORIGINS = {
    entry.split(" as ")[-1]: (f"nerf_insert.{module}", entry.split(" as ")[0])
    for module, entries in _MODULES.items()
    for entry in entries
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _ORIGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _ORIGINS[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ORIGINS})
