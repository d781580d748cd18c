"""The eight stages of the method, one file each: prompts, generate, score, pair, encode, train, evaluate, report.

Every file has one entry point, `run(recipe, folder)`. A stage reads the files that earlier stages have left in the run folder
and writes its own there; stages share nothing else. `videogpa.pipeline` calls them in their order.
"""
