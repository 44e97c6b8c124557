"""Model weights in the Hugging Face cache: catalogue, look-up, download."""
