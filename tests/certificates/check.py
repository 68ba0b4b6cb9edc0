"""What is wrong with certificates and revocation lists, to RFC 5280 and the SPIFFE X509-SVID standard.

Reads cases as JSON from standard input, and writes for each a list of faults: {"name": [..]}. Certificates are read and chains are verified
by pyca/cryptography, which shares no code with what has made them.
"""

import datetime
import json
import sys

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

KEY_USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
]


class Certificate:
    def __init__(self, name, pem):
        self.name = name
        self.it = x509.load_pem_x509_certificate(pem.encode())

    def extension(self, kind):
        try:
            return self.it.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None

    def usages(self):
        usage = self.extension(x509.KeyUsage)
        return usage and usage.critical and [name for name in KEY_USAGES if getattr(usage.value, name)]

    def uris(self):
        names = self.extension(x509.SubjectAlternativeName)
        return names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def common(certificate, issuer, faults):
    it = certificate.it

    def expect(condition, fault):
        if not condition:
            faults.append(f"{certificate.name}: {fault}")

    expect(it.version == x509.Version.v3, "it is no version 3 (RFC 5280 4.1.2.1)")
    expect(it.serial_number > 0, "its serial number is not positive (4.1.2.2)")
    expect(it.serial_number.bit_length() < 160, "its serial number has more than 20 octets (4.1.2.2)")
    expect(it.serial_number.bit_length() > 64, "its serial number could be guessed")
    expect(it.not_valid_before_utc < it.not_valid_after_utc, "it is never valid")
    expect(issuer.it.not_valid_after_utc >= it.not_valid_after_utc, "it outlives its issuer")
    expect(issuer.it.not_valid_before_utc <= it.not_valid_before_utc, "it is older than its issuer")
    expect(it.issuer == issuer.it.subject, "its issuer is another name (4.1.2.4)")
    expect(it.signature_hash_algorithm.name in ["sha256", "sha384"], "its signature is weak")
    try:
        it.verify_directly_issued_by(issuer.it)
    except Exception as error:  # noqa: BLE001: whatever it is, it is a fault
        expect(False, f"its issuer has not signed it: {error!r}")
    own, by = certificate.extension(x509.SubjectKeyIdentifier), certificate.extension(x509.AuthorityKeyIdentifier)
    signer = issuer.extension(x509.SubjectKeyIdentifier)
    expect(own is not None and not own.critical, "it lacks its key's identifier (4.2.1.2)")
    if issuer is not certificate:
        same = by and signer and by.value.key_identifier == signer.value.digest
        expect(same and not by.critical, "its authority key identifier is not its issuer's key identifier (4.2.1.1)")
    expect(certificate.extension(x509.NameConstraints) is None, "it has name constraints")
    return expect


def authority(certificate, issuer, trust_domain, faults):
    expect = common(certificate, issuer, faults)
    constraints = certificate.extension(x509.BasicConstraints)
    expect(constraints and constraints.critical and constraints.value.ca, "it is no authority (4.2.1.9)")
    length = constraints.value.path_length if constraints else None
    expect(length == (None if issuer is certificate else 0), f"its path length is {length}")
    expect(certificate.usages() == ["key_cert_sign", "crl_sign"], f"its usages are {certificate.usages()}")
    expect(len(certificate.it.subject) > 0, "it has no name (4.1.2.6)")
    expect(certificate.uris() == [f"spiffe://{trust_domain}"], f"its URIs are {certificate.uris()} (X509-SVID 3.2)")


def leaf(certificate, issuer, identity, faults):
    expect = common(certificate, issuer, faults)
    constraints = certificate.extension(x509.BasicConstraints)
    expect(constraints and constraints.critical and not constraints.value.ca, "it is an authority (X509-SVID 4.1)")
    expect(certificate.usages() == ["digital_signature"], f"its usages are {certificate.usages()} (X509-SVID 4.3)")
    extended = certificate.extension(x509.ExtendedKeyUsage)
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    expect(extended and set(extended.value) == both, "it is not for both ends of TLS (X509-SVID 4.4)")
    expect(certificate.uris() == [identity], f"its URIs are {certificate.uris()} (X509-SVID 2)")
    names = certificate.extension(x509.SubjectAlternativeName)
    expect(len(certificate.it.subject) > 0 or (names and names.critical), "it names nobody in a critical place (4.1.2.6)")
    known = {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
    more = [extension.oid.dotted_string for extension in certificate.it.extensions if extension.oid not in known]
    expect(not more, f"it has more extensions: {more}")


def path(leaf, between, root, faults):
    """RFC 5280 6, by the library's own rules, at three moments of the leaf's life."""
    start, end = leaf.it.not_valid_before_utc, leaf.it.not_valid_after_utc
    store = verification.Store([root.it])
    for time in [start, start + (end - start) / 2, end]:
        verifier = verification.PolicyBuilder().store(store).time(time.replace(tzinfo=None)).build_client_verifier()
        try:
            verifier.verify(leaf.it, [it.it for it in between])
        except verification.VerificationError as error:
            faults.append(f"{leaf.name}: its path does not verify at {time}: {error}")
    late = verification.PolicyBuilder().store(store).time((end + datetime.timedelta(seconds=1)).replace(tzinfo=None))
    try:
        late.build_client_verifier().verify(leaf.it, [it.it for it in between])
        faults.append(f"{leaf.name}: it is good after its end")
    except verification.VerificationError:
        pass


def revocation_list(pem, issuer, revoked, faults):
    it = x509.load_pem_x509_crl(pem.encode())

    def expect(condition, fault):
        if not condition:
            faults.append(f"list of {issuer.name}: {fault}")

    expect(it.issuer == issuer.it.subject, "its issuer is another name (RFC 5280 5.1.2.3)")
    expect(it.is_signature_valid(issuer.it.public_key()), "its issuer has not signed it")
    expect(it.next_update_utc and it.last_update_utc < it.next_update_utc, "it does not say when the next one comes (5.1.2.5)")
    by = it.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    signer = issuer.extension(x509.SubjectKeyIdentifier)
    expect(by.value.key_identifier == signer.value.digest, "its key identifier is another one's (5.2.1)")
    expect(it.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > 0, "it has no number (5.2.3)")
    serials = sorted(entry.serial_number for entry in it)
    expect(serials == sorted(int(serial, 16) for serial in revoked), f"it lists {serials}")


def check(case):
    faults = []
    root, middle = Certificate("root", case["root"]), Certificate("intermediate", case["intermediate"])
    authority(root, root, case["trustDomain"], faults)
    authority(middle, root, case["trustDomain"], faults)
    for name, pem in case["leaves"].items():
        one = Certificate(name, pem)
        leaf(one, middle, case["identity"], faults)
        path(one, [middle], root, faults)
    for issuer, (pem, revoked) in case.get("lists", {}).items():
        revocation_list(pem, {"root": root, "intermediate": middle}[issuer], revoked, faults)
    return faults


if __name__ == "__main__":
    json.dump({name: check(case) for name, case in json.load(sys.stdin).items()}, sys.stdout)
