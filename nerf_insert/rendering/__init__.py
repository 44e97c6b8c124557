"""From rays to pixels: the base and the layers over it."""
