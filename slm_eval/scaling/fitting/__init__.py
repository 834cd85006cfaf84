"""Laws fitted to points, and how far they can be trusted."""
