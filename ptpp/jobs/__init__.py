"""How jobs run: files, GPUs, heartbeats, progress, status."""
