"""Servers that speak the OpenAI protocol: calls, budgets, keys, options, dialogues."""
