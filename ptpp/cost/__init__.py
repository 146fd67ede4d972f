"""What an experiment takes: estimated before, measured after."""
