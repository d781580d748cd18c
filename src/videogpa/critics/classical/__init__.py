"""The parts of the weight-free critic: features, cameras, depth, and the test for missing parallax.

They work on numpy arrays, as OpenCV and COLMAP do; `critics/sfm.py` converts from and to torch tensors.
"""

from videogpa.processes import own_sigterm

with own_sigterm():
    import pycolmap  # noqa: F401 - here and not in the parts, so that it is imported with its handler of signals kept out
