"""The inpainter `fill`: removal without learned weights."""
