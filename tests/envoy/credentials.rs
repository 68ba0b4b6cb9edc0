//! Servers outside the mesh, by DestinationRule: SIMPLE and MUTUAL, with files on the proxy's machine.
