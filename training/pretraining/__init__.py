"""How a base is made from nothing: tokenizer, corpus, a plain Llama, and a run that resumes exactly.

Needs torch, NumPy and tokenizers only, so that a bare machine with a GPU can run it. What turns the
result into the file that serves (`training.pretraining.export`) is imported when it is asked for.
"""
