"""System: files, locks, processes, text and errors: what would be the same in any other program."""
