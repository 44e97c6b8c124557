"""Do the poses fit the photographs? A check of a few pairs, which takes seconds.

`matching` finds what pairs of photographs have in common without knowing any pose, `epipolar` measures how
far that is from where poses and lenses say, `hypotheses` are the usual mistakes, `check` decides.
"""
