"""The commands of ``slm-zoo``: parse, call, print."""
