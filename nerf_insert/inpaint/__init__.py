"""Inpainters: what paints the masked part of the views."""
