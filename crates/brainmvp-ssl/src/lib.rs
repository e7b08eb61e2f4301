//! Self-supervised objectives: masking, templates, losses.
