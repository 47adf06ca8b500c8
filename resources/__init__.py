"""What a run needs from outside: models, compute, store and lineage, one file each."""
