"""Which of several systems speaks best? One table of runs that carry the same signatures, ranked with ties.

    from slm_eval.leaderboard import leaderboards, read_systems
    leaderboards(read_systems(["runs/a", "runs/b"]))[0].order

A rank is 1 + the number of systems whose interval lies wholly on the better side of this one's. So systems that the
intervals do not separate share the better rank, and rank 1 means: shown to be worse than none. pJSD falls as samples
grow, so it is ranked at equal numbers of n-grams only.
"""

from slm_eval.leaderboard.board import Leaderboard, leaderboards
from slm_eval.leaderboard.column import Column, Reference, Result
from slm_eval.leaderboard.systems import System, read_systems

__all__ = ["Column", "Leaderboard", "Reference", "Result", "System", "leaderboards", "read_systems"]
