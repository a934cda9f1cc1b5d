"""Data: who was scanned, on which voxels, in which partition, and what adapters share to say so."""
