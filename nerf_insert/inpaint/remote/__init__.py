"""Inpainters over HTTP: the diffusion model runs on a machine with a GPU, the edit on another."""
