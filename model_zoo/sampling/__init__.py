"""From clips of speech to spoken continuations of them."""
