//! The server process and clients that speak gRPC by hand: services, ways to be known, and everything that a hostile or slow client
//! can do to a listener. No Envoy is needed.

mod harness;

mod access;
mod ending;
mod floods;
mod hostile;
mod revocation;
mod services;
