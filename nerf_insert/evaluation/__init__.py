"""Metrics of renders and of edits."""
