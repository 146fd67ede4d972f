"""Invented English, Arabic and French."""
