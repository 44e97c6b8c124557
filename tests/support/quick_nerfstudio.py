"""nerfstudio's list of methods, which is made when it is imported, without five seconds of searching.

To learn who makes it, each of 26 entries asks `inspect.stack`, which also finds the source of every frame
among all modules. The names of the functions are enough.
"""

import sys
from types import SimpleNamespace

from nerfstudio.configs import external_methods


def stack():
    frames, frame = [], sys._getframe(1)
    while frame:
        frames.append(SimpleNamespace(function=frame.f_code.co_name))
        frame = frame.f_back
    return frames


external_methods.inspect = SimpleNamespace(stack=stack)
