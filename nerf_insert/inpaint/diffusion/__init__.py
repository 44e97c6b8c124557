"""The inpainter `diffusion`: any supported inpainting model of the diffusers library.

    catalogue            models by name, with licences
    weights, surveys     what lies on this machine, and whether it is complete and can be trusted
    fetching             downloads, for `nerf-insert models pull`
    families, work       what differs from model to model: one small class each
    settings             the inpainter's options
    memory               how a model fits into this machine
    cropping, control    what a model is shown of a view
    loading, painter     the model at work
    inpainter            all of it behind the contract of nerf_insert/inpaint/api.py

diffusers and transformers are imported where they are used: they take many seconds.
"""
