"""The OpenAI dialect: every intern is a model, so that other people's clients work unchanged."""
