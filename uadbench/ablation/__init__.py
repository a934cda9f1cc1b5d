"""What each part of a method is worth: questions with rules written down first, runs, verdicts, tables."""
