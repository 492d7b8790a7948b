"""Sentence encoders: where they are found, how they are loaded, changed and saved."""
