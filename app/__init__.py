"""The web page, `nerf-insert app`: open a scene, mark a place, say what goes there, look, keep.

The page makes recipes and shows results; all work is done by the engine, long work by the command line in
a process of its own (jobs.py). The engine knows nothing of this package. Its modules, bottom to top:

    workspace, drafts      folders: scenes that can be opened, what a person is about to do
    ending                 what computes is waited for when the server ends
    bounded                pictures, read by a child process (picture_worker)
    opened, outlines,      an open scene; where a region shows in the photographs; a mesh in them;
    placing, live          renders for the view that can be orbited
    painters, recipes,     who can paint; from a draft to a recipe and its command line; numbers that
    numbers, job, jobs     were typed; one job, and the queue
    uploads, downloads     files that come and go
    services               what the page's widgets and the API call, as plain data
    widgets, steps, page   the page itself: one module per step
    api, server            the same as functions for programs; how it is started

No handler leans on a global: what a browser works on travels with every call as (scene, draft), two names
that `Workspace` and `Drafts` turn into folders.
"""
