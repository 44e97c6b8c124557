"""NeRF-Insert: change one place in a captured 3D scene and nothing else.

The engine's rooms, bottom to top (imports run upwards only):

    kernels, devices, errors, files, locks, progress  no knowledge of scenes
    cameras, meshes, pictures, video                  cameras and files that people bring
    regions, capture, fields                          pieces of space, photographs, radiance fields
    base, nerfacto, layers                            what a scene is made of
    rendering, fitting                                rays to pixels, pixels to fields
    inpaint, recipe, scene, edit                      what an edit is, where it is kept, how it is made
    plugin                                            nerfstudio's methods and run folders
    app                                               the web page
    cli                                               the command line
"""

import os

# Idle OpenMP threads that spin keep the cores from the threads that have work: on two cores, with
# anything else running, torch's matrix products take six times as long. Read when torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
