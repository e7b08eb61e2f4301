//! The viewer from outside: its server over a socket, and its pages in a browser.

mod browser;
mod place;
mod server;
