"""Fitting fields: the scene's to photographs, a layer's to inpainted views."""
