"""Files of a run: whole rows, atomic writes, fingerprints, one writer at a time. Nothing else writes into a run folder."""
