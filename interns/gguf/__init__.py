"""GGUF files in and out: bases, adapters and the families llama.cpp knows."""
