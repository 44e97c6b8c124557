"""The light of a scene, estimated from its surfaces, and meshes shaded by it."""
