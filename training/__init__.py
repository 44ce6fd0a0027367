"""Data becomes an adapter, judged, exported, and ready to be registered.

The only package that imports torch, transformers' models and peft. It runs as a child process
(`python -m training run FOLDER`) and knows nothing about daemons, queues or screens: it ends
with a finished, hashed version folder or with a reason.
"""
