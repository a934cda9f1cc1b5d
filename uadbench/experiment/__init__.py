"""Experiment: one method on one pair of cohorts, from the question to the record, and back to its figures."""
