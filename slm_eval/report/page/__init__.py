"""The page that a run or a leaderboard writes."""
