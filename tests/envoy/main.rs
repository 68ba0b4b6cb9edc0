//! The server against real Envoys: both pinned releases, both forms of xDS, over loopback.
//!
//! Each test has a mesh of its own (the lab's three workloads), a server process of its own and its own addresses. Envoys are found by
//! the lab's locator, which fetches a pinned release once.

mod harness;

mod adoption;
mod attestation;
mod authorization;
mod authority;
mod bytes;
mod cert_manager;
mod clients;
mod clusters;
mod credentials;
mod dual_stack;
mod enrollment;
mod federation;
mod gateways;
mod grpc;
mod grpc_rotation;
mod identity;
mod ingress_tls;
mod interception;
mod kubernetes;
mod lab;
mod linkerd;
mod matrix;
mod mesh;
mod mesh_config;
mod mesh_issuer;
mod namespace;
mod outage;
mod outside;
mod plane;
mod policy;
mod process;
mod refusals;
mod renewal;
mod resource_ttl;
mod revocation;
mod root_rotation;
mod seeds;
mod sleep;
mod spire;
mod staged;
mod twenty_of_each;
mod ways_in;
