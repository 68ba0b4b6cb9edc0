//! The single values of a configuration, refused where they stand.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::MINIMUM_TTL;
use crate::identity::TrustDomain;

/// No duration is longer: a hundred years, which can still be added to any time that there is.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `24h`, `500ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    let value = humantime::parse_duration(&text).map_err(|_| {
        D::Error::custom(format!("`{text}` is not a duration: a number and a unit, as in `20s` or `24h`"))
    })?;
    match value > LONGEST {
        true => Err(D::Error::custom(format!("`{text}` is longer than {}", humantime::format_duration(LONGEST)))),
        false => Ok(value),
    }
}

/// A duration that is long enough for a certificate.
pub(super) fn lifetime<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let value = duration(d)?;
    if value < MINIMUM_TTL {
        let (value, least) = (humantime::format_duration(value), humantime::format_duration(MINIMUM_TTL));
        return Err(D::Error::custom(format!("{value} leaves no time to renew: a certificate lives at least {least}")));
    }
    Ok(value)
}

/// A time after which a proxy drops what it has not heard of; 0 for never. A server that is started again needs some seconds.
pub(super) fn resource_ttl<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    const LEAST: Duration = Duration::from_secs(5);
    let value = duration(d)?;
    if !value.is_zero() && value < LEAST {
        let value = humantime::format_duration(value);
        return Err(D::Error::custom(format!("{value} is too short: at least 5s, or 0s for no limit")));
    }
    Ok(value)
}

/// What has a text form of its own, with its own message.
pub(super) fn parsed<'de, D: Deserializer<'de>, T: std::str::FromStr<Err = String>>(d: D) -> Result<T, D::Error> {
    String::deserialize(d)?.parse().map_err(D::Error::custom)
}

/// `127.0.0.1:15012`, `[::]:15012`.
pub(super) fn address<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(|_| D::Error::custom(format!("`{text}` is not IP:PORT, as in `127.0.0.1:15012`")))
}

/// What has a parser of its own, with warnings: `policy::parse_mesh_config`.
pub(super) fn read_apart<'de, D: Deserializer<'de>, T: Default>(d: D) -> Result<T, D::Error> {
    serde::de::IgnoredAny::deserialize(d)?;
    Ok(T::default())
}

/// A name of DNS labels.
pub(super) fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    check_name(&text).map_err(D::Error::custom)?;
    Ok(text)
}

/// A SPIFFE trust domain.
pub(super) fn trust_domain<'de, D: Deserializer<'de>>(d: D) -> Result<TrustDomain, D::Error> {
    let text = String::deserialize(d)?;
    if let Some(rest) = text.strip_prefix("spiffe://") {
        let name = rest.trim_end_matches('/');
        return Err(D::Error::custom(format!("`{text}` is a URI; the trust domain alone is `{name}`")));
    }
    text.parse().map_err(|error| D::Error::custom(format!("`{text}` is not a trust domain: {error}")))
}

/// Several of them.
pub(super) fn trust_domains<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<TrustDomain>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct One(#[serde(deserialize_with = "trust_domain")] TrustDomain);
    Ok(Vec::<One>::deserialize(d)?.into_iter().map(|one| one.0).collect())
}

/// RFC 1123 labels with dots between them, at most 253 bytes.
pub(super) fn check_name(text: &str) -> Result<(), String> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(());
    }
    Err(format!("`{text}` is not a name of lower-case letters, digits and `-`, with `.` between its parts"))
}
