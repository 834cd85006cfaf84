"""The reference model of arXiv 2604.24416: a continuous-diffusion spoken language model (CD-SLM) on log-mels.

speech -> data -> training of the network in cdslm -> sampling -> vocoder -> wavs, which ``slm-eval run`` scores. A
sibling of ``slm_eval``, whose errors and commands it shares; nothing in ``slm_eval`` depends on it.
"""
