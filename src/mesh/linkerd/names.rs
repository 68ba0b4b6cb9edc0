//! Linkerd's names of workloads: `ACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.TRUST-DOMAIN`.
//!
//! A namespace has no dots, so that the last label before `serviceaccount` is one however many dots an account's name has.

use super::super::Settings;

/// The namespace of Linkerd's control plane, unless told otherwise, which is part of every name.
const CONTROL_PLANE: &str = "linkerd";
const MIDDLE: &str = "serviceaccount.identity";

/// The name of a service account. `None`: it is too long for a DNS name (RFC 1035 §2.3.4), or no such name.
pub fn dns_name(settings: &Settings, namespace: &str, account: &str) -> Option<String> {
    let name = format!("{account}.{namespace}.{MIDDLE}.{CONTROL_PLANE}.{}", settings.trust_domain);
    let is_label = |label: &str| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        let signs = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&label.len()) && ends && signs
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then_some(name)
}

/// Whether a DNS name is of Linkerd's form, whoever it means.
pub(in super::super) fn is_name(name: &str) -> bool {
    split(name).is_some()
}

/// Whom an exact name means: the account, the namespace, the trust domain.
pub(super) fn account(name: &str) -> Option<(&str, &str, &str)> {
    let (who, domain) = split(name)?;
    let (account, namespace) = who.rsplit_once('.')?;
    (!account.is_empty() && !namespace.is_empty()).then_some((account, namespace, domain))
}

/// Whom a name means that ends so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending<'a> {
    /// Every account of a namespace, of a trust domain.
    Namespace(&'a str, &'a str),
    /// Every account of a trust domain.
    Everybody(&'a str),
}

/// `None`: only who carries such a DNS name.
pub(super) fn ending<'a>(suffix: &'a str, trust_domain: &'a str) -> Option<Ending<'a>> {
    if let Some((namespace, domain)) = split(suffix) {
        return (!namespace.contains('.')).then_some(Ending::Namespace(namespace, domain));
    }
    let of_all = [MIDDLE, "identity"].iter().find_map(|start| suffix.strip_prefix(start)?.strip_prefix('.'));
    if let Some((_, domain)) = of_all.and_then(|rest| rest.split_once('.')) {
        return Some(Ending::Everybody(domain));
    }
    let ours = format!("{CONTROL_PLANE}.{trust_domain}");
    let ends = ours == suffix || ours.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    ends.then_some(Ending::Everybody(trust_domain))
}

/// What stands before the middle, and the trust domain behind the control plane's namespace.
fn split(name: &str) -> Option<(&str, &str)> {
    let at = name.find(&format!(".{MIDDLE}."))?;
    let (_, domain) = name[at + MIDDLE.len() + 2..].split_once('.')?;
    (!domain.is_empty()).then_some((&name[..at], domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_s_name() {
        let settings = Settings::default();
        let name = dns_name(&settings, "shop", "web").unwrap();
        assert_eq!(name, "web.shop.serviceaccount.identity.linkerd.cluster.local");
        assert_eq!(account(&name), Some(("web", "shop", "cluster.local")));
        let dotted = dns_name(&settings, "shop", "web.v1").unwrap();
        assert_eq!(account(&dotted), Some(("web.v1", "shop", "cluster.local")));
        assert_eq!(dns_name(&settings, "shop", &"a".repeat(64)), None, "a label has 63 characters at most");
        assert_eq!(dns_name(&settings, "shop", &["a".repeat(60).as_str(); 4].join(".")), None, "253 in all");
        let odd = Settings { trust_domain: "under_score.test".into(), ..Settings::default() };
        assert_eq!(dns_name(&odd, "shop", "web"), None);
    }

    #[test]
    fn what_is_no_account_s_name_is_nobody_s() {
        for name in
            ["web", "shop.serviceaccount.identity.linkerd.cluster.local", "a.b.serviceaccount.identity.linkerd", ""]
        {
            assert_eq!(account(name), None, "{name}");
        }
    }

    #[test]
    fn endings() {
        let of = |suffix| ending(suffix, "cluster.local");
        let namespace = Some(Ending::Namespace("shop", "cluster.local"));
        assert_eq!(of("shop.serviceaccount.identity.linkerd.cluster.local"), namespace);
        let everybody = Some(Ending::Everybody("cluster.local"));
        for suffix in [
            "serviceaccount.identity.linkerd.cluster.local",
            "identity.linkerd.cluster.local",
            "linkerd.cluster.local",
            "cluster.local",
            "local",
        ] {
            assert_eq!(of(suffix), everybody, "{suffix}");
        }
        assert_eq!(of("identity.linkerd.other.test"), Some(Ending::Everybody("other.test")));
        for suffix in ["ster.local", "v1.shop.serviceaccount.identity.linkerd.cluster.local", "example.com"] {
            assert_eq!(of(suffix), None, "{suffix}");
        }
    }
}
