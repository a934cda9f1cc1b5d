"""The command line: verbs on subjects, methods, protocols and records."""


def main() -> None:
    """Run a command."""
