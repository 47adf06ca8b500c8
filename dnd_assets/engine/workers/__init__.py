"""Work handed out in parts to other processes or machines, by the standard library's `Executor`.

Here: parts, who takes them, what a worker does with one, and how a lost one is done again.
Not here: what a part is (the stage that cuts it), records (the coordinator alone keeps them).
"""
