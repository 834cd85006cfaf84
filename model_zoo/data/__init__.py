"""From speech to what a trainer reads: filters, memory-mapped shards of log-mels, random windows, and their feed."""
