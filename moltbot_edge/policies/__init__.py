"""Policies: pure functions that put candidates in order. Each is one file, as a user's is.

complexity    by how hard the question looks
round_robin   each in turn
weighted      drawn by weight, and by what is learned of it
least_busy    the fewest requests in flight
fastest       the soonest first token
sticky        a conversation stays where it is
priority      in tiers
cheapest      the lowest price that is soon enough
"""
