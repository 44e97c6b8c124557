"""Cameras, poses and triangle meshes."""
