"""The engine that all products share: what is missing, compute, commit, announce; plans and audits.

Here: units of work, keys, recording, plan, verify, removal of what nobody needs.
Not here: what a product is (`assets`), Dagster (`workflow`), algorithms (`methods`).
"""
