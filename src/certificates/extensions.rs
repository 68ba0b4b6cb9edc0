//! What a certificate says besides its names and its life: its extensions in DER (RFC 5280 §4.2).

use std::net::IpAddr;

use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

use crate::policy::{Certificate, CertificateNames, KeyUsage, NameConstraints, Network, Subtrees};

// id-ce (RFC 5280, appendix A.2): 2.5.29 and the extension's number.
const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
const CRL_DISTRIBUTION_POINTS: &[u64] = &[2, 5, 29, 31];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
// id-pe-authorityInfoAccess and its methods (RFC 5280 §4.2.2.1).
const AUTHORITY_INFORMATION: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const OCSP: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1];
const CA_ISSUERS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 2];
// GeneralName (RFC 5280 §4.2.1.6).
const EMAIL: u64 = 1;
const DNS: u64 = 2;
const URI: u64 = 6;
const IP: u64 = 7;

/// What the issuer adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointers {
    pub(super) crl_distribution_points: Vec<String>,
    pub(super) ocsp_servers: Vec<String>,
    pub(super) issuing_certificate_urls: Vec<String>,
}

/// What the extensions are about.
pub(super) struct Subject<'a> {
    pub(super) spec: &'a Certificate,
    /// Whether the name is empty: the alternative name is critical then, so that nobody can overlook it (RFC 5280 §4.1.2.6).
    pub(super) is_nameless: bool,
    pub(super) key_id: &'a [u8],
    pub(super) authority_key_id: Option<&'a [u8]>,
    pub(super) pointers: &'a Pointers,
}

/// All of them: the content of `[3]`.
pub(super) fn write(writer: &mut DERWriterSeq<'_>, subject: &Subject<'_>) {
    let Subject { spec, is_nameless, key_id, authority_key_id, pointers } = subject;
    let mut add = |id: &[u64], critical: bool, value: Vec<u8>| {
        writer.next().write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(id));
            if critical {
                writer.next().write_bool(true);
            }
            writer.next().write_bytes(&value);
        });
    };
    let bits = key_usage_bits(&spec.usages, spec.is_ca);
    if bits != 0 {
        add(
            KEY_USAGE,
            true,
            construct_der(|writer| {
                writer.write_bitvec_bytes(
                    &[bits.to_be_bytes()[0], bits.to_be_bytes()[1]][..if bits & 0xff == 0 { 1 } else { 2 }],
                    significant(bits),
                )
            }),
        );
    }
    let purposes = purposes(&spec.usages);
    if !purposes.is_empty() {
        let oids = |writer: &mut DERWriterSeq<'_>| {
            purposes.iter().for_each(|id| writer.next().write_oid(&ObjectIdentifier::from_slice(id)));
        };
        add(EXTENDED_KEY_USAGE, false, construct_der(|writer| writer.write_sequence(oids)));
    }
    let constraints = |writer: &mut DERWriterSeq<'_>| {
        if spec.is_ca {
            writer.next().write_bool(true);
        }
    };
    add(BASIC_CONSTRAINTS, true, construct_der(|writer| writer.write_sequence(constraints)));
    add(SUBJECT_KEY_ID, false, construct_der(|writer| writer.write_bytes(key_id)));
    if let Some(id) = authority_key_id {
        let value = construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(id))
            });
        });
        add(AUTHORITY_KEY_ID, false, value);
    }
    if !spec.names.is_empty() {
        let value = construct_der(|writer| writer.write_sequence(|writer| general_names(writer, &spec.names)));
        add(ALTERNATIVE_NAME, *is_nameless, value);
    }
    if let Some(constraints) = &spec.name_constraints {
        add(NAME_CONSTRAINTS, constraints.critical, construct_der(|writer| name_constraints(writer, constraints)));
    }
    if !pointers.crl_distribution_points.is_empty() {
        add(
            CRL_DISTRIBUTION_POINTS,
            false,
            construct_der(|writer| distribution_points(writer, &pointers.crl_distribution_points)),
        );
    }
    let access = [(OCSP, &pointers.ocsp_servers), (CA_ISSUERS, &pointers.issuing_certificate_urls)];
    if access.iter().any(|(_, urls)| !urls.is_empty()) {
        let value = construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (method, url) in access.iter().flat_map(|(method, urls)| urls.iter().map(move |url| (method, url)))
                {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(method));
                        general_name(writer.next(), URI, url.as_bytes());
                    });
                }
            });
        });
        add(AUTHORITY_INFORMATION, false, value);
    }
}

/// keyUsage (RFC 5280 §4.2.1.3): bit 0 is the first of the first byte. An authority may sign certificates whatever else it may.
fn key_usage_bits(usages: &[KeyUsage], is_ca: bool) -> u16 {
    let bit = |number: u16| 0x8000_u16 >> number;
    let of = |usage: &KeyUsage| match usage {
        KeyUsage::Signing | KeyUsage::DigitalSignature => bit(0),
        KeyUsage::ContentCommitment => bit(1),
        KeyUsage::KeyEncipherment => bit(2),
        KeyUsage::DataEncipherment => bit(3),
        KeyUsage::KeyAgreement => bit(4),
        KeyUsage::CertSign => bit(5),
        KeyUsage::CrlSign => bit(6),
        KeyUsage::EncipherOnly => bit(7),
        KeyUsage::DecipherOnly => bit(8),
        _ => 0,
    };
    usages.iter().map(of).fold(if is_ca { bit(5) } else { 0 }, |all, one| all | one)
}

/// How many bits there are up to the last that is set (X.690 §11.2.2).
fn significant(bits: u16) -> usize {
    16 - bits.trailing_zeros() as usize
}

/// extKeyUsage (RFC 5280 §4.2.1.12), in the order in which they are written, each once.
fn purposes(usages: &[KeyUsage]) -> Vec<&'static [u64]> {
    let of = |usage: &KeyUsage| -> Option<&'static [u64]> {
        Some(match usage {
            KeyUsage::Any => &[2, 5, 29, 37, 0],
            KeyUsage::ServerAuth => &[1, 3, 6, 1, 5, 5, 7, 3, 1],
            KeyUsage::ClientAuth => &[1, 3, 6, 1, 5, 5, 7, 3, 2],
            KeyUsage::CodeSigning => &[1, 3, 6, 1, 5, 5, 7, 3, 3],
            KeyUsage::EmailProtection | KeyUsage::SMime => &[1, 3, 6, 1, 5, 5, 7, 3, 4],
            KeyUsage::IpsecEndSystem => &[1, 3, 6, 1, 5, 5, 7, 3, 5],
            KeyUsage::IpsecTunnel => &[1, 3, 6, 1, 5, 5, 7, 3, 6],
            KeyUsage::IpsecUser => &[1, 3, 6, 1, 5, 5, 7, 3, 7],
            KeyUsage::Timestamping => &[1, 3, 6, 1, 5, 5, 7, 3, 8],
            KeyUsage::OcspSigning => &[1, 3, 6, 1, 5, 5, 7, 3, 9],
            KeyUsage::MicrosoftSgc => &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3],
            KeyUsage::NetscapeSgc => &[2, 16, 840, 1, 113_730, 4, 1],
            _ => return None,
        })
    };
    let mut all = Vec::new();
    for purpose in usages.iter().filter_map(of) {
        if !all.contains(&purpose) {
            all.push(purpose);
        }
    }
    all
}

fn general_names(writer: &mut DERWriterSeq<'_>, names: &CertificateNames) {
    names.dns.iter().for_each(|name| general_name(writer.next(), DNS, name.as_bytes()));
    names.email.iter().for_each(|name| general_name(writer.next(), EMAIL, name.as_bytes()));
    for ip in &names.ip {
        match ip {
            IpAddr::V4(ip) => general_name(writer.next(), IP, &ip.octets()),
            IpAddr::V6(ip) => general_name(writer.next(), IP, &ip.octets()),
        }
    }
    names.uri.iter().for_each(|name| general_name(writer.next(), URI, name.as_bytes()));
}

fn general_name(writer: DERWriter<'_>, kind: u64, value: &[u8]) {
    writer.write_tagged_implicit(Tag::context(kind), |writer| writer.write_bytes(value));
}

fn name_constraints(writer: DERWriter<'_>, constraints: &NameConstraints) {
    writer.write_sequence(|writer| {
        for (tag, subtrees) in [(0, &constraints.permitted), (1, &constraints.excluded)] {
            if !subtrees.is_empty() {
                writer.next().write_tagged_implicit(Tag::context(tag), |writer| {
                    writer.write_sequence(|writer| subtrees_into(writer, subtrees));
                });
            }
        }
    });
}

fn subtrees_into(writer: &mut DERWriterSeq<'_>, subtrees: &Subtrees) {
    let mut base = |kind, value: &[u8]| writer.next().write_sequence(|writer| general_name(writer.next(), kind, value));
    subtrees.dns.iter().for_each(|name| base(DNS, name.as_bytes()));
    subtrees.ip.iter().for_each(|network| base(IP, &range(network)));
    subtrees.email.iter().for_each(|name| base(EMAIL, name.as_bytes()));
    subtrees.uri.iter().for_each(|name| base(URI, name.as_bytes()));
}

/// The address and its mask (RFC 5280 §4.2.1.10).
fn range(network: &Network) -> Vec<u8> {
    let ones = |length: u8| {
        (0..length).map(|byte| match network.prefix.saturating_sub(byte * 8) {
            8.. => 0xff_u8,
            bits => !(0xff_u16 >> bits) as u8,
        })
    };
    let (address, mask): (Vec<u8>, Vec<u8>) = match network.address {
        IpAddr::V4(ip) => (ip.octets().to_vec(), ones(4).collect()),
        IpAddr::V6(ip) => (ip.octets().to_vec(), ones(16).collect()),
    };
    address.iter().zip(&mask).map(|(byte, mask)| byte & mask).chain(mask.iter().copied()).collect()
}

/// Each URL is a point of its own (RFC 5280 §4.2.1.13).
fn distribution_points(writer: DERWriter<'_>, urls: &[String]) {
    writer.write_sequence(|writer| {
        for url in urls {
            writer.next().write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(0), |writer| {
                    writer.write_tagged_implicit(Tag::context(0), |writer| {
                        writer.write_sequence(|writer| general_name(writer.next(), URI, url.as_bytes()));
                    });
                });
            });
        }
    });
}
