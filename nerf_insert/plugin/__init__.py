"""NeRF-Insert in nerfstudio: import and export of run folders, and two methods for `ns-train`.

run_reader, checkpoint_reader   read other people's runs without executing their code
run_capture                     the capture that a run was trained on
coordinates, similarity         between a run's coordinates and the world
import_run                      a trained nerfacto as the base of a scene
config, edit_config             what the entry points name; light, because every `ns-train` imports it
datamanager, edit_model, pipeline, trainer, viewer_panel    the method `nerf-insert`
scene_model                     the method `nerf-insert-base`
export_run                      any scene as a run
"""
