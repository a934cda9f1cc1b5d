"""`python -m uadbench`: the same as the command `uadbench`."""

from uadbench.cli import main

main()
