"""The steps that a person goes through, a module each.

A step has a function `build(page)` that lays out its part of the page and connects its events. Handlers get
all they need through `Page` and their inputs.
"""
