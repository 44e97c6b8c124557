"""Captures: posed photographs, transforms.json, camera paths."""
