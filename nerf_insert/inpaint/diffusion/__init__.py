"""The inpainter `diffusion`: any supported inpainting model of the diffusers library.

    options               the inpainter's options
    inventory             the models on this machine
    families, request     what differs from one kind of model to the next, and one call of a model
    placement             how a model fits into this machine's memory
    cropping, tiling,
    depth_control         what a model is given of a view
    model_choice          the model for an edit, checked against what is asked for
    addons, single_file   the files beside a model (LoRAs, ControlNets, ...), and weights in one file
    fit_check             whether these files fit the model, found out without its weights
    libraries             whether diffusers and the libraries beside it are installed
    loading, sampler      loading a model and running it
    inpainter             the Inpainter (see nerf_insert/inpaint/api.py) that uses all of these

nerf_insert.hub finds and downloads the weights. diffusers and transformers are imported inside functions:
they take many seconds.
"""
