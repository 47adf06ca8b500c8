"""Words, captions and answers of language models as text: what is a caption, what is none.

Not here: choosing concepts from captions (`methods.dissection`).
"""
