"""How long `uadbench --help` takes, beside a bare interpreter and beside importing torch."""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "uadbench --help": ["-m", "uadbench", "--help"],
    "uadbench methods": ["-m", "uadbench", "methods"],
    "import torch": ["-c", "import torch"],
}
ROUNDS = 7


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    rounds = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(ROUNDS)]
    bare = statistics.median(r["python -c pass"] for r in rounds)
    print(f"start-up, median of {ROUNDS} interleaved rounds")
    for name in COMMANDS:
        median = statistics.median(r[name] for r in rounds)
        print(f"  {name:<20} {1000 * median:7.0f} ms   {median / bare:6.1f} x bare python")


if __name__ == "__main__":
    main()
