//! How the operations run on the Flex backend, and the gradients of those that have a kernel.

mod activation;
mod autodiff;
mod buffer;
mod depthwise;
mod flex;
mod linear;
mod product;
mod simd;
