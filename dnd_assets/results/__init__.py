"""What was recorded, read back: tables, cards of units, exports, traces, differences.

Not here: questions that compute something new (`analysis`), pages (`report`).
"""
