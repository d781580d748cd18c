"""The pipeline is the table of contents: one folder and one verb per stage. Stages meet only in the run folder's files.

(They share this folder, rather than lying in the package itself, because `videogpa.score` is the function users call.)
"""
