"""The running process: progress and time left, devices, memory, kernel warm-up."""
