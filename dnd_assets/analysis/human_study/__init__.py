"""People's judgement of labels: tasks that they are given, forms, and what came back.

Not here: metrics that need nobody (`methods.metrics`).
"""
