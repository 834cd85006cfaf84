"""Where weight files lie, where they come from, and that they are right."""
