//! The viewer from outside: its server over a socket, and its pages in a browser.

#![allow(clippy::unwrap_used)]

mod browser;
mod place;
mod server;
