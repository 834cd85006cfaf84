"""Tables for a terminal, for Markdown and for LaTeX."""
