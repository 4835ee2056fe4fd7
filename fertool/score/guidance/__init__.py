"""Attention guidance across runs: its effects over lambda, the verdict, the tables."""
