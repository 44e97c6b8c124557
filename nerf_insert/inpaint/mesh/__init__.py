"""The inpainter `mesh`: a coloured mesh, shaded and composited."""
