"""Model weights in the Hugging Face cache: catalog, look-up, download."""
