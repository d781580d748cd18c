"""The site, and what writes the pages of docs/reference that are made from the code."""
