"""The leaderboard: plain Parquet files, their schema, and what is computed from them with pandas.

Nothing here imports torch, Ray, Optuna or a trainer, so a leaderboard opens in any notebook.
"""
