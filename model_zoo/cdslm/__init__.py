"""The continuous-diffusion spoken language model: what is diffused, how, and by which network."""
