"""Methods and their parts, in torch. Nothing here knows Ray, Optuna or a leaderboard."""
