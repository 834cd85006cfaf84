"""Folders of speech: made by a grammar and espeak-ng, written whole, and cut into contexts and what follows them."""
