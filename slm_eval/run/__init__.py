"""Corpora and metrics in, an evaluation out; its folder, and its shards."""
