"""Geometry critics, one file each, and what turns a reconstruction into scores."""
