"""What every service stands on: its settings, its log, its health and its life as a process."""
