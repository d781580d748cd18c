"""Studies with people: which clips raters see, their votes, and what these say. The voting page is in `report`."""
