"""The table of losses: reading, selecting, anchors, protocols."""
