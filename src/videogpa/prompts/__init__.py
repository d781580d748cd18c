"""Prompts: read from files or folders of images, and texts that describe camera moves."""
