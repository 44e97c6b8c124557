"""NeRF-Insert in nerfstudio: run folders read and written, and its methods for `ns-train`.

run_folder, checkpoint     what others' runs hold, read without running their code
adopt, align               a trained nerfacto as the base of a scene
config                     what the entry points name: light, for every `ns-train` imports it
datamanager, model, pipeline, trainer, viewer_elements    the method `nerf-insert`
base_model                 the method `nerf-insert-base`
export_run                 any scene as a run
"""
