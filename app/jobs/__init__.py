"""Jobs of the web page: what runs, what waits, what has been made so far."""
