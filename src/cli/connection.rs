//! Which server a command goes to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::{CliError, Client};

/// The options that every command to a server has.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct Connection {
    /// The server: unix:PATH, or http://HOST:PORT on this machine [default: unix:DATA-DIR/admin.sock]
    #[arg(long, value_name = "ADDRESS", env = "COUNTERSIGN_SERVER")]
    pub server: Option<Server>,
    /// The server's data directory, where its socket and token are
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// The file with the token for http:// [default: DATA-DIR/admin.token]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Where an admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, on this machine: the token goes there without encryption.
    Http(String),
}

impl Default for Connection {
    fn default() -> Self {
        Self { server: None, data_dir: "./data".into(), token_file: None }
    }
}

impl Connection {
    /// A connection to the server with this data directory.
    pub fn to_data_dir(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), ..Self::default() }
    }

    /// A client; for http:// the token is read.
    pub fn client(&self) -> Result<Client, CliError> {
        let server = self.server.clone().unwrap_or_else(|| Server::Unix(self.data_dir.join("admin.sock")));
        let token = match &server {
            Server::Unix(_) => None,
            Server::Http(_) => {
                let path = self.token_file.clone().unwrap_or_else(|| self.data_dir.join("admin.token"));
                let text = std::fs::read_to_string(&path).map_err(|source| CliError::Token { path, source })?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Client::new(server, token))
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err("unix: needs a path".into()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err("expected unix:PATH or http://HOST:PORT".into());
        };
        let authority = rest.trim_end_matches('/');
        let loopback = match authority.parse::<SocketAddr>() {
            Ok(address) => IpAddr::to_canonical(&address.ip()).is_loopback(),
            Err(_) => authority.strip_prefix("localhost:").is_some_and(|port| port.parse::<u16>().is_ok()),
        };
        match loopback {
            true => Ok(Self::Http(authority.to_owned())),
            false => Err("the API is on loopback only (http://127.0.0.1:PORT); forward the port or the socket, \
                          for example with `ssh -L`"
                .into()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}
