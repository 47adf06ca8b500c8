"""A generated world with known answers, a target network in it, and small checkpoints."""
