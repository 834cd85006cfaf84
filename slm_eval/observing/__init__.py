"""The expensive half: samples in, observations out, each kept in the store."""
