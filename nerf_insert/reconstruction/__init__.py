"""From a video or photographs to a capture: frames, camera poses by COLMAP, up, scale and a report."""
