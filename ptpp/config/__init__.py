"""What an experiment is: its configuration, checked."""
