"""Data sets, label spaces, sampling and loading."""
