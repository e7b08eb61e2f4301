//! Pre-train, fine-tune and evaluate 3-D networks on multi-parametric brain MRI.
