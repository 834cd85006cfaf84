"""Hours of speech with known language structure, made anywhere in minutes: a grammar of talk, spoken by espeak-ng.

For tests, examples and measurements where no recorded speech is at hand. What a model learns from it is this grammar,
not English: numbers measured on it say so.
"""
