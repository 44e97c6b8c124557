"""The web page, `nerf-insert app`: open a scene, mark a region, choose its content, preview, edit, compare.

The page makes recipes and shows results. The engine does all work, long work in a `nerf-insert` process of
its own (jobs/queue.py); it knows nothing of this package. The modules, bottom to top:

    workspace, drafts       folders: the scenes that can be opened; the edit that a browser is preparing
    shutdown, messages      requests in flight when the server ends; messages as sentences
    image_sandbox           decodes uploaded images in a child process (image_worker)
    scene_cache             open scenes: photographs, depths, regions, layer stacks
    region_overlay          where a region shows in the photographs
    orbit_view              the 3D view
    mesh_overlay            a mesh in photographs and the 3D view
    model_list, inpainter_list    what can paint
    draft_to_recipe, form_values  from a draft to a recipe and its command line; numbers that a person typed
    jobs/                   one job, the queue, images of a job's output
    uploads, downloads      files that come and go
    services/               what the page's widgets and the API call, as plain data
    widgets/, steps/, page  the page itself, a module per step
    api, server             the endpoints for programs; how the page is served

No handler uses a global: what a browser works on travels with every call as a scene and a draft, two names
that `Workspace` and `Drafts` turn into folders.
"""
