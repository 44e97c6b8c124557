"""Depth from photographs whose cameras are known, to start the training of a base from."""
