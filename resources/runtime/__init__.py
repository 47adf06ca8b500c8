"""Where and how models run: devices, batches, memory, prefetching, progress."""
