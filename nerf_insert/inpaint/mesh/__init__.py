"""The inpainter `mesh`: a colored mesh, shaded and composited."""
