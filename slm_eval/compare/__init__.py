"""Is A better than B? Two systems against the same real speech, metric by metric, with corrected p-values.

    from slm_eval.compare import compare
    compare(read_run(a), read_run(b)).to_dict()

Clips with the same id answer the same prompt: they are compared as pairs, which takes what the prompt does to both out
of the difference. Otherwise the clips of both are two samples. The null hypothesis of every test is that it makes no
difference which system a clip came from, and permutation makes it exact: pairs are swapped, or labels shuffled, whole
speakers or prompts at a time where they are named.
"""

from slm_eval.compare.comparison import Comparison, compare
from slm_eval.compare.result import LEVEL, Difference

__all__ = ["LEVEL", "Comparison", "Difference", "compare"]
