//! Lists of ports in Linkerd's annotations: `25,3306,8000-8010`.

use std::fmt;
use std::ops::RangeInclusive;

/// Ports by number, in ranges, and where Linkerd allows it by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    ranges: Vec<(u16, u16)>,
    names: Vec<String>,
}

impl Ports {
    /// Reads a list. An empty one is valid, and takes back what a wider scope says.
    ///
    /// # Errors
    /// What is wrong with the first entry that is none.
    pub(super) fn parse(text: &str, with_names: bool) -> Result<Self, String> {
        let mut ports = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match range(entry) {
                Some(range) if range.start() > range.end() => {
                    return Err(format!("the range {entry} begins behind its end"));
                }
                Some(range) => ports.ranges.push((*range.start(), *range.end())),
                None if with_names && is_name(entry) => ports.names.push(entry.to_owned()),
                None => {
                    return Err(format!(
                        "{:?} is not a port: 1 to 65535, or a range such as 8000-8010",
                        shorten(entry)
                    ));
                }
            }
        }
        ports.ranges.sort_unstable();
        ports.ranges.dedup();
        Ok(ports)
    }

    /// Whether a port is among them, by its number or its name.
    pub fn contains(&self, port: u16, name: Option<&str>) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
            || name.is_some_and(|name| self.names.iter().any(|it| it == name))
    }

    /// The single numbers among them; ranges are left out, which may hold thousands.
    pub fn numbers(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().filter(|(first, last)| first == last).map(|(first, _)| *first)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.names.is_empty()
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.ranges.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        f.write_str(&ranges.chain(self.names.iter().cloned()).collect::<Vec<_>>().join(","))
    }
}

fn range(entry: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.trim().parse().ok().filter(|number| *number != 0);
    match entry.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(entry).map(|port| port..=port),
    }
}

/// Kubernetes' rule for the names of ports (RFC 6335 §5.1): at least one letter, 15 characters at most.
fn is_name(entry: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    entry.len() <= 15 && entry.bytes().all(allowed) && entry.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
