"""Exports of other programs, each translated into the content of a transforms.json.

A module here has `find(folder)`, the file by which its format is told, None if there is none, and
`read(file, folder)`, which returns `Content`. What the translation leaves open, missing photographs and wrong
numbers included, is found by `nerf_insert.capture.transforms_json`, with one set of messages for all formats.
"""
