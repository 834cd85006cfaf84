"""Which of several systems speaks best? One table of runs that carry the same signatures, with the ranks they may have.

    from slm_eval.compare.leaderboard import leaderboards, read_systems
    leaderboards(read_systems(["runs/a", "runs/b"]))[0].order

Every pair of systems is tested by every metric, and a rank is what these tests leave possible (``ranking``): of 4
systems, 1 to 3 for one that is shown to be better than one other. pJSD falls as samples grow, so it is ranked at equal
numbers of n-grams only.
"""

from slm_eval.compare.leaderboard.board import Leaderboard, leaderboards
from slm_eval.compare.leaderboard.column import Column, Reference, Result
from slm_eval.compare.leaderboard.ranking import Pair
from slm_eval.compare.leaderboard.systems import System, read_systems

__all__ = ["Column", "Leaderboard", "Pair", "Reference", "Result", "System", "leaderboards", "read_systems"]
