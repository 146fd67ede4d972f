"""Whole analyses in one call each, for notebooks and the command line."""
