"""Cameras, rays, poses, triangle meshes, and look-ups in images and masks."""
