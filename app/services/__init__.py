"""What the page's widgets and the API ask the server for: plain data in, plain data out.

common    which scene and draft a call is about; exceptions become {"error": sentence}
regions   the photographs, what is marked in them, where the region shows
renders   renders of the scene, and the mesh that is moved in them
jobs      the state of jobs and their output
layers    the scene's layers
splats    the splats that browsers draw themselves
"""

from nerf_insert.app.services.jobs import JobService
from nerf_insert.app.services.layers import LayerService
from nerf_insert.app.services.regions import RegionService
from nerf_insert.app.services.renders import RenderService
from nerf_insert.app.services.splats import SplatService

__all__ = ["Services"]


class Services(RegionService, RenderService, JobService, LayerService, SplatService):
    """Everything that the widgets and the API call."""
