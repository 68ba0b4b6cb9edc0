//! SPIRE's check of `ca_ttl` against what is signed: a successor signs when a sixth of an authority's life is left, seven days at most, so
//! what lives longer than that may be cut short (pkg/server/ca/manager in github.com/spiffe/spire).

use std::time::Duration;

use super::super::go_duration::show;

const SIXTH: u32 = 6;
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is wrong with an SVID's lifetime of `ttl`, if anything.
pub(super) fn check(key: &str, ttl: Duration, ca_ttl: Duration) -> Option<String> {
    let guaranteed = (ca_ttl / SIXTH).min(LONGEST);
    if ttl <= guaranteed {
        return None;
    }
    let what =
        format!("{key} is {}, and with ca_ttl {} only {} are guaranteed", show(ttl), show(ca_ttl), show(guaranteed));
    let why =
        "a successor signs when a sixth of the CA's life is left, 7 days at most, so certificates may be cut short";
    let advice = if ttl < LONGEST {
        format!("set {key} to {} or less, or ca_ttl to {} or more", show(guaranteed), show(ttl * SIXTH))
    } else if ca_ttl < LONGEST * SIXTH {
        format!("set {key} to {} or less and ca_ttl to {} or more", show(LONGEST), show(LONGEST * SIXTH))
    } else {
        format!("set {key} to {} or less", show(guaranteed))
    };
    Some(format!("{what}: {why}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_svid_lives_a_sixth_of_its_ca_at_most() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let said = |svid, ca| check("ttl", hours(svid), hours(ca));
        assert_eq!(said(1, 6), None);
        assert_eq!(said(28, 168), None);
        assert_eq!(said(168, 10_000), None);
        assert!(said(1, 5).unwrap().ends_with("set ttl to 50m or less, or ca_ttl to 6h or more"));
        assert!(said(200, 24).unwrap().ends_with("set ttl to 168h or less and ca_ttl to 1008h or more"));
        assert!(said(169, 2000).unwrap().ends_with("set ttl to 168h or less"));
    }
}
