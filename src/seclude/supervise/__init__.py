"""Watch calls while they happen: what a filter notifies, what it kills, and a record of both.

Lazy: `seclude run` imports the modules it needs by name.
"""
