"""Radiance fields: the scene's, an adopted nerfacto, a layer's."""
