"""Plain functions that methods share: losses, mixing, schedules. A table at the foot of each file names them."""
