"""Sparse autoencoders and directions: what a layer gives, told in latents instead of neurons.

Here belong the encoders, the conventions of each library that writes checkpoints, and what is
counted of latents. Reading files is `resources.targets.dictionaries`.
"""
