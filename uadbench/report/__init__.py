"""Report: what is shown of records: leaderboard, tables on the screen, pictures, comparisons."""
