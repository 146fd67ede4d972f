"""The cost of an experiment: estimated before, measured after."""
