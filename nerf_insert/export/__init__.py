"""Scenes as datasets, meshes and point clouds."""
