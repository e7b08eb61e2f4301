//! Volumes to prepared cases: the preprocessing pipeline and its cache.
