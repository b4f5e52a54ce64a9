"""october: the language-model papers of October 2023, reproduced in one package."""

__version__ = "0.1.0"
