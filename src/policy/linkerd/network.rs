//! Networks of clients: addresses, and exceptions among them.

use serde::Deserialize;

use super::super::report::Report;
use super::super::{Located, Network};

/// One of `networks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNetwork {
    /// `cidr`.
    pub network: Network,
    /// `except`: parts of it that do not count.
    pub except: Vec<Network>,
}

#[derive(Deserialize)]
pub(super) struct RawNetwork {
    cidr: Located<String>,
    #[serde(default)]
    except: Vec<Located<String>>,
}

/// Checks networks as Linkerd's webhook does. `None`: an entry is wrong, and has been reported.
pub(super) fn check(raw: Vec<Located<RawNetwork>>, field: &str, report: &Report) -> Vec<ClientNetwork> {
    let network = |written: &Located<String>, field: &str| {
        let network = Network::parse(&written.value);
        if network.is_none() {
            let help = "an address, or a network such as 10.0.0.0/8";
            report.error_with_help(&written.at, field, "not an IP address or network", help);
        }
        network
    };
    let each = raw.into_iter().enumerate().filter_map(|(index, Located { value, .. })| {
        let field = format!("{field}[{index}]");
        let whole = network(&value.cidr, &format!("{field}.cidr"))?;
        let mut except = Vec::new();
        for written in &value.except {
            let field = format!("{field}.except");
            let Some(part) = network(written, &field) else { continue };
            if part.contains(whole) {
                report.error(&written.at, &field, format!("{part} is all of {whole}, of which nothing is left"));
            } else if !whole.contains(part) {
                report.error(&written.at, &field, format!("{part} is no part of {whole}"));
            }
            except.push(part);
        }
        Some(ClientNetwork { network: whole, except })
    });
    each.collect()
}
