"""The cheap half: observations of both sides in, numbers out."""
