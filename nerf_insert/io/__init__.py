"""Files on disk: atomic writes, locks, images, video. Knows nothing of scenes."""
