//! Networks, layers, heads and weights.
