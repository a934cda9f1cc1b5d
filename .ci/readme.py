"""Put the first table of results/LEADERBOARD.md into the README, between its markers."""

from itertools import dropwhile, takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- demo -->", "<!-- /demo -->"


def main() -> None:
    """Rewrite the README."""
    lines = (ROOT / "results/LEADERBOARD.md").read_text().splitlines()
    below = dropwhile(lambda line: not line.startswith("|"), lines)
    table = takewhile(lambda line: line.startswith("|"), below)
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text("\n".join([before + BEGIN, "", *table, "", END + after]))


if __name__ == "__main__":
    main()
