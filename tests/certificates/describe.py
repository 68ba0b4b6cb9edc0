"""What certificates of operators' own issuers say, as pyca/cryptography reads them.

Reads cases as JSON from standard input, {"name": {"chain": PEM, "key": PEM, "authority": PEM}}, and writes for each what its first
certificate says, and a list of faults: what does not belong together.
"""

import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
]


def public_bytes(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def kind(key):
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return type(key).__name__


def subtrees(names):
    return [f"{type(name).__name__} {name.value}" for name in names or []]


def describe(case):
    chain = x509.load_pem_x509_certificates(case["chain"].encode())
    authority = x509.load_pem_x509_certificate(case["authority"].encode())
    key = serialization.load_pem_private_key(case["key"].encode(), password=None)
    leaf, faults = chain[0], []

    def extension(kind):
        try:
            return leaf.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None

    if public_bytes(key.public_key()) != public_bytes(leaf.public_key()):
        faults.append("the key is another certificate's")
    for lower, upper in zip(chain, chain[1:] + ([authority] if chain[-1] != authority else [])):
        try:
            lower.verify_directly_issued_by(upper)
        except Exception as error:
            faults.append(f"{lower.subject.rfc4514_string()} is not issued by {upper.subject.rfc4514_string()}: {error!r}")
        if lower.not_valid_after_utc > upper.not_valid_after_utc:
            faults.append("it outlives its issuer")
        identifier = lower.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        if identifier != upper.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest:
            faults.append("its authority key identifier is not its issuer's")
    if leaf == authority:
        try:
            leaf.verify_directly_issued_by(leaf)
        except Exception as error:
            faults.append(f"it has not signed itself: {error!r}")
    if leaf.version != x509.Version.v3 or not 64 < leaf.serial_number.bit_length() < 160:
        faults.append("its version or serial number")

    usage, purposes = extension(x509.KeyUsage), extension(x509.ExtendedKeyUsage)
    names, constraints = extension(x509.SubjectAlternativeName), extension(x509.NameConstraints)
    points, access = extension(x509.CRLDistributionPoints), extension(x509.AuthorityInformationAccess)
    basic = extension(x509.BasicConstraints)

    def of(kind):
        return [str(name) for name in names.value.get_values_for_type(kind)] if names else []

    def urls(method):
        return [it.access_location.value for it in access.value if it.access_method == method] if access else []

    return {
        "faults": faults,
        "subject": leaf.subject.rfc4514_string(),
        "key": kind(leaf.public_key()),
        "lifeHours": (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() / 3600,
        "authority": basic.critical and basic.value.ca,
        "usages": [name for name in USAGES if getattr(usage.value, name)] if usage and usage.critical else None,
        "purposes": [purpose.dotted_string for purpose in purposes.value] if purposes else [],
        "dns": of(x509.DNSName),
        "ip": of(x509.IPAddress),
        "uri": of(x509.UniformResourceIdentifier),
        "email": of(x509.RFC822Name),
        "namesCritical": bool(names and names.critical),
        "permitted": subtrees(constraints and constraints.value.permitted_subtrees),
        "excluded": subtrees(constraints and constraints.value.excluded_subtrees),
        "constraintsCritical": bool(constraints and constraints.critical),
        "crl": [name.value for point in points.value for name in point.full_name] if points else [],
        "ocsp": urls(AuthorityInformationAccessOID.OCSP),
        "issuers": urls(AuthorityInformationAccessOID.CA_ISSUERS),
    }


json.dump({name: describe(case) for name, case in json.load(sys.stdin).items()}, sys.stdout)
