"""Evaluation: yardsticks, statistics over seeds, and one judge for every network."""
