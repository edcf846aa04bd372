"""Policies: pure functions that put candidates in order. Each is one file, as a user's is.

round_robin   each in turn
weighted      drawn by weight
"""
