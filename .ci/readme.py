"""Put the table of results/LEADERBOARD.md into the README, between its markers."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- demo -->", "<!-- /demo -->"


def main() -> None:
    """Rewrite the README."""
    lines = (ROOT / "results/LEADERBOARD.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text("\n".join([before + BEGIN, "", *table, "", END + after]))


if __name__ == "__main__":
    main()
