"""NeRF-Insert: change one place in a captured 3D scene and nothing else.

The engine's rooms, bottom to top (imports run upwards only):

    kernels, errors, files, progress   no knowledge of scenes
    cameras, meshes, pictures          cameras and files that people bring
    regions, capture, fields           pieces of space, photographs, radiance fields
    rendering, fitting                 rays to pixels, pixels to fields
    inpaint, recipe, scene, edit       what an edit is, where it is kept, how it is made
    cli                                the command line
"""

__version__ = "0.1.0"
