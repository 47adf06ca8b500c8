"""Describe-and-Dissect (Bai et al., TMLR 2025): exemplars, crops, candidate concepts, scores.

Also: concepts chosen by detection, and how sure a label is.
"""
