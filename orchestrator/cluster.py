"""The connection to Ray: a local cluster, or the one that this process was submitted to."""

import os

RAY_ENVIRONMENT = {
    # Our own progress replaces Tune's tables; our own checkpoints replace its loggers and snapshots.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Relative paths mean the same in a trial as in the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A stopped trial may take long to clean up; at the default of 2 s the sweep would hang instead.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def connect(num_cpus: int | None = None) -> None:
    """Join the cluster of ``RAY_ADDRESS``, or start one on this machine; does nothing when already connected."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    options = {"log_to_driver": False, "logging_level": "error", "runtime_env": {"env_vars": RAY_ENVIRONMENT}}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**options)
    else:
        from orchestrator.preflight import num_cpus as cores

        ray.init(num_cpus=num_cpus or cores(), include_dashboard=False, **options)
