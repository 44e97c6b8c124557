"""What the page's widgets and the API ask the server for: plain data in, plain data out.

common                  which scene and draft a call is about; a sentence in the place of an exception
marking                 photographs, what is marked in them, where that shows
viewing                 renders, and the mesh that is moved in them
working                 jobs: how they stand, what they have made
layering                the scene's layers
"""

from nerf_insert.app.numbers import box_of, placing_of
from nerf_insert.app.services.layering import Layering
from nerf_insert.app.services.marking import Marking
from nerf_insert.app.services.viewing import Viewing
from nerf_insert.app.services.working import Working, stages_of

__all__ = ["Services", "box_of", "placing_of", "stages_of"]


class Services(Marking, Viewing, Working, Layering):
    """All of them."""
