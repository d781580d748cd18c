"""The parts of the weight-free critic: features, cameras, depth, and the test for missing parallax.

They work on numpy arrays, as OpenCV and COLMAP do; `critics/sfm.py` converts from and to torch tensors.
"""
