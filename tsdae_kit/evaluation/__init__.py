"""Evaluation data, metrics with their intervals, and the tables of ``evaluate``."""
