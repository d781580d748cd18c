"""The files of a run: atomic writes, fingerprints, manifests of rows, and the lock on the run folder.

Whatever is written into a run folder is written through this package, so that a killed run never leaves half a file or half a
row, and continues where it was.
"""
