"""Labelled pairs: files of any layout in, columns with known roles out."""
