//! As much of an HTTP/1.1 client as flooding and asking takes: one request at a time on one kept-alive connection.
//!
//! Written by hand so that a request costs the generator two system calls and no allocation; it runs on plain blocking
//! sockets, one thread a connection.

mod client;
pub mod form;
mod response;
mod url;

pub use client::{Client, ClientError};
pub use response::{Response, ResponseError};
pub use url::{Url, UrlError};
