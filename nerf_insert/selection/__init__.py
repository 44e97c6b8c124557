"""Selecting a thing by clicks: from pixels of photographs to a region, by the scene's depth and colors."""
