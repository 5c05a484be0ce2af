"""Does: the only awaits on the network, the disk and the clock."""
