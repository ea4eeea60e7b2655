"""Published checkpoints become checkpoints of ours, exactly."""
