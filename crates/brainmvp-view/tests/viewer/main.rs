//! What is shown from outside: the server over a socket, its pages in a browser, and reports.

#![allow(clippy::unwrap_used)]

mod browser;
mod place;
mod report;
mod server;
