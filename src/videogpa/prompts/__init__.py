"""Prompts: read from files and folders of images, or written as moves of the camera."""
