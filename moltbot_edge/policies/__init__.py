"""Policies: pure functions that put candidates in order. Each is one file, as a user's is.

complexity    by how hard the question looks
round_robin   each in turn
weighted      drawn by weight
"""
