"""Where a training run's time goes, measured on the user's own data and machine: ``clsfit bench``."""
