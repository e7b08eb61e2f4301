//! How the operations run on the Flex backend, and the gradients of those that have a kernel.

mod autodiff;
mod depthwise;
mod flex;
mod simd;
