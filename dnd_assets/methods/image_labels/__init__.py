"""Labels from image-level truth: which concepts each image shows, and which concept implies which.

Here: the hierarchy of concepts, and INVERT and linear explanations on what it gives.
Not here: the area under the curve itself (`methods.segmentation.invert`), pixel labels.
"""
