"""What the page's widgets and the API ask the server for: plain data in, plain data out.

common                  which scene and draft a call is about; a sentence in the place of an exception
marking                 photographs, what is marked in them, where that shows
viewing                 renders, and the mesh that is moved in them
working                 jobs: how they stand, what they have made
layering                the scene's layers
"""

from nerf_insert.app.form_values import box_of, placing_of
from nerf_insert.app.services.jobs import Working, stages_of
from nerf_insert.app.services.layers import Layering
from nerf_insert.app.services.regions import Marking
from nerf_insert.app.services.renders import Viewing

__all__ = ["Services", "box_of", "placing_of", "stages_of"]


class Services(Marking, Viewing, Working, Layering):
    """All of them."""
