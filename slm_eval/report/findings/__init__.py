"""What the page says of a run: n-grams that differ, traits of the speech, sentences."""
