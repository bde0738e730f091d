"""Candidate formulas against exact values, and what geowarp ships.

``python benchmarks/accuracy --help`` says how it is run.
"""
