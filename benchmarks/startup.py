"""What it costs until a command answers: CPU time, beside a bare interpreter and beside importing torch.

python benchmarks/startup.py [--rounds 7]

The commands take turns, and what they load is said too: none that lists, shows or completes loads torch.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

BARE, TORCH = "python -c pass", "import torch"
COMMANDS: Mapping[str, Sequence[str]] = {
    BARE: ["-c", "pass"],
    "uadbench --help": ["--help"],
    "uadbench methods": ["methods"],
    "uadbench methods ae": ["methods", "ae"],
    "uadbench datasets": ["datasets"],
    "uadbench datasets mslub": ["datasets", "mslub"],
    "uadbench published": ["published", "--method", "ae"],
    TORCH: ["-c", "import torch"],
}
# What a shell asks when somebody presses the tabulator: the words so far.
COMPLETIONS = ("uadbench me", "uadbench methods a", "uadbench run -m ae --set w", "uadbench run -d m")
CALL = "import sys; from uadbench.cli import main; sys.argv[0] = 'uadbench'\ntry: main()\n"
CALL += "finally: print('torch' in sys.modules, file=sys.stderr)"


def command_of(name: str) -> tuple[list[str], dict[str, str]]:
    """Arguments of Python, and its environment."""
    if name not in COMMANDS:
        words = name.split()
        asked = {"COMP_WORDS": name, "COMP_CWORD": str(len(words) - 1)}
        return ["-c", CALL], os.environ | {"_UADBENCH_COMPLETE": "complete_bash"} | asked
    plain = name in (BARE, TORCH)
    return [*(() if plain else ("-c", CALL)), *COMMANDS[name]], dict(os.environ)


def measured(name: str) -> tuple[float, bool, str]:
    """CPU seconds, whether torch was loaded, and what was printed."""
    arguments, environment = command_of(name)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, name == TORCH or done.stderr.endswith("True\n"), done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    names = [*COMMANDS, *COMPLETIONS]
    rounds = [{name: measured(name) for name in names} for _ in range(asked.rounds)]
    bare = statistics.median(found[BARE][0] for found in rounds)
    print(f"CPU time, median of {asked.rounds} rounds; load {os.getloadavg()[0]:.1f}")
    for name in names:
        median = statistics.median(found[name][0] for found in rounds)
        _, torch, printed = rounds[0][name]
        shown = f"{name} [Tab]: {printed.split()[:3]}" if name in COMPLETIONS else name
        loaded = "   loads torch" if torch else ""
        print(f"  {1000 * median:6.0f} ms {median / bare:6.1f} x   {shown}{loaded}")


if __name__ == "__main__":
    main()
