"""The parts of ``slm-zoo sweep``: which runs, how each is carried out, and the table that they end in."""
