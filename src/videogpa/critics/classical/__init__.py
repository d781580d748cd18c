"""The parts of the weight-free critic: features, cameras, depth, and the verdict when there is no parallax.

They work on numpy arrays, since OpenCV and COLMAP do; `critics/sfm.py` converts at the border.
"""
