//! The ConfigMap of a SPIRE server in a policy set, beside what the server was started with. All of it counts at the start only, so what
//! changes while the server runs is told, and not followed.

use std::sync::Arc;

use super::{Settings, Topic, Warning};
use crate::policy::{PolicySet, SpireServer};

/// The `server.conf` that a server was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerConf {
    /// Nobody asks: a policy directory is looked at without a server.
    #[default]
    Unknown,
    /// There was none that counts.
    None,
    /// This one.
    Of(Arc<SpireServer>),
}

/// Tells what of the set's ConfigMaps is not what the server runs with.
pub(super) fn compare(set: &PolicySet, settings: &Settings, warnings: &mut Vec<Warning>) {
    for object in set.spire_servers.iter() {
        let new = &object.spec;
        let before = match &settings.server_conf {
            ServerConf::Unknown => continue,
            ServerConf::None if new.trust_domain.value != settings.trust_domain => {
                let message = format!(
                    "this server.conf is for the trust domain {}, and this server's is {}: nothing of it is applied",
                    new.trust_domain.value, settings.trust_domain
                );
                warnings.push(Warning::new(Topic::Ignored, &new.trust_domain.at, message));
                continue;
            }
            ServerConf::None => {
                let message = "this server.conf came after the server's start, and takes effect with the next";
                warnings.push(Warning::new(Topic::NeedsRestart, &new.at, message));
                continue;
            }
            ServerConf::Of(before) => before,
        };
        if before.at.file != new.at.file {
            let message = format!("another server.conf counts: {}", before.at);
            warnings.push(Warning::new(Topic::Ignored, &new.at, message));
            continue;
        }
        for (key, at) in changed(before, new) {
            let message = format!("{key} is another than at the server's start, and takes effect with the next");
            warnings.push(Warning::new(Topic::NeedsRestart, at, message));
        }
    }
}

fn changed<'a>(before: &SpireServer, new: &'a SpireServer) -> Vec<(&'static str, &'a super::Origin)> {
    let bind = new.bind_port.as_ref().map(|it| &it.at).or(new.bind_address.as_ref().map(|it| &it.at));
    let ttl = |it: &'a Option<crate::policy::Located<std::time::Duration>>| it.as_ref().map_or(&new.at, |it| &it.at);
    let all = [
        ("trust_domain", before.trust_domain == new.trust_domain, &new.trust_domain.at),
        ("bind_address or bind_port", before.bind() == new.bind(), bind.unwrap_or(&new.at)),
        ("data_dir", before.data_dir == new.data_dir, &new.data_dir.at),
        ("ca_ttl", before.ca_ttl() == new.ca_ttl(), ttl(&new.ca_ttl)),
        ("default_x509_svid_ttl", before.svid_ttl() == new.svid_ttl(), ttl(&new.svid_ttl)),
        ("log_level", before.log_level == new.log_level, new.log_level.as_ref().map_or(&new.at, |it| &it.at)),
        ("ca_key_type", before.ca_key_type == new.ca_key_type, new.ca_key_type.as_ref().map_or(&new.at, |it| &it.at)),
        ("ca_subject", before.ca_subject == new.ca_subject, new.ca_subject.as_ref().map_or(&new.at, |it| &it.at)),
        ("federation", before.federates_with == new.federates_with, &new.at),
        ("the DataStore", before.store == new.store, &new.store.at),
        ("the KeyManager", before.key_manager == new.key_manager, &new.key_manager.at),
        ("the UpstreamAuthority", before.upstream == new.upstream, new.upstream.as_ref().map_or(&new.at, |it| &it.at)),
        ("a NodeAttestor", before.attestors == new.attestors, new.attestors.first().map_or(&new.at, |it| &it.at)),
    ];
    all.into_iter().filter(|(_, same, _)| !same).map(|(key, _, at)| (key, at)).collect()
}
