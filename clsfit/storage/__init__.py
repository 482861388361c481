"""The one package that writes files durably: run directories, checkpoints, model files. No torch here."""
