"""What limits the system at each size: measured where it can be, computed where it can't."""
