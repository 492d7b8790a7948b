"""Labelled pairs: files with any column names become anchor, positive, and negatives or a label."""
