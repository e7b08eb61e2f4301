//! The training loop, batches, schedule, checkpoints and run folders.
