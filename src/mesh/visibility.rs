//! `exportTo`: which namespaces see a service or a rule.

/// Whether an object of `owner` with this `exportTo` is seen from `client`. Empty means everywhere, as in Istio.
pub(super) fn exports(export_to: &[String], owner: &str, client: &str) -> bool {
    export_to.is_empty()
        || export_to.iter().any(|to| match to.as_str() {
            "*" => true,
            "." => owner == client,
            "~" => false,
            namespace => namespace == client,
        })
}
