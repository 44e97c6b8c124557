"""The light of a scene, estimated from its surfaces, and meshes shaded in it.

From depth views (rendering/depth_view.py) `depth_fusion` makes the scene's surface; `estimation` finds the
light that explains the surface's colors; `shading` lights a mesh that stands in the scene, and computes by
which factor the mesh changes the light on the surface. Nothing here knows of an inpainter.
"""
