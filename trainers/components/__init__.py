"""Plain functions that methods share: losses, schedules. A table at the foot of each file names them."""
