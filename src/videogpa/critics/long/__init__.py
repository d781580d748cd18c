"""Clips of any length: reconstructed in windows, joined by similarities, scored in a stream.

Memory is that of one window, whatever the length; what is joined waits on the disk, about 11 bytes a pixel. Time is linear.
"""
