//! The operator's door: status, secrets, rotation and bootstrap over HTTP.
//!
//! There are two ways in. `DATA_DIR/admin.sock` (mode 0600, in a directory nobody else may write to) offers everything to the
//! server's own user. `admin.address` offers `/ready`, `/live` and `/metrics` to whoever reaches it and, only if it is a
//! loopback address, the API to whoever has the token in `DATA_DIR/admin.token`. The debug surfaces of systems like this one
//! have leaked mesh configuration to every pod (GHSA-974c-2wxh-g4ww), therefore this one is closed unless opened.
//!
//! The handlers know the server as a [`Backend`] only.

pub mod api;
mod authority;
mod backend;
mod certificates;
mod data_dir;
mod http;
mod listen;
mod policy;
mod socket;
mod token;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use backend::{Backend, Failure};
pub use data_dir::{ADMIN_SOCKET, ADMIN_TOKEN, DataDirError, prepare as prepare_data_dir};
pub use listen::{AdminError, Options, Running, serve};
pub(crate) use socket::{Place, Socket};
