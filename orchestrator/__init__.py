"""Ray, the stage graph, the store and the command line."""
