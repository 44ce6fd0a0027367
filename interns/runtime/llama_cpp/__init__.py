"""The llama.cpp runtime: one base in memory, many adapters, one owner thread."""
