"""Jobs of the web page: one job, the queue that runs them, and images of their output."""
