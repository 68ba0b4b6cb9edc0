//! `x-forwarded-client-cert`: how Envoy tells an application who the peer was.

/// One element of the header: one client certificate that one proxy on the way has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedCertificate {
    /// `Hash`: SHA-256 of the client certificate (DER), in hexadecimal.
    pub hash: Option<String>,
    /// `URI`: the URI names of the client certificate.
    pub uris: Vec<String>,
    /// `By`: the URI names of the proxy's own certificate.
    pub by: Vec<String>,
    /// `Subject`, as in RFC 2253.
    pub subject: Option<String>,
    /// `DNS`: the DNS names of the client certificate.
    pub dns: Vec<String>,
}

/// The elements of the header, the nearest proxy's last. Keys are case-insensitive, unknown ones (`Cert`, `Chain`) are skipped;
/// a value with `,`, `;` or `=` in it is quoted, with `\"` for a quote.
pub fn parse(header: &str) -> Vec<ForwardedCertificate> {
    split(header, ',').into_iter().filter(|element| !element.trim().is_empty()).map(element).collect()
}

fn element(text: &str) -> ForwardedCertificate {
    let mut certificate = ForwardedCertificate::default();
    for pair in split(text, ';') {
        let Some((key, value)) = pair.split_once('=') else { continue };
        let value = unquote(value.trim());
        match key.trim().to_ascii_lowercase().as_str() {
            "hash" => certificate.hash = Some(value.to_ascii_lowercase()),
            "uri" => certificate.uris.push(value),
            "by" => certificate.by.push(value),
            "subject" => certificate.subject = Some(value),
            "dns" => certificate.dns.push(value),
            _ => {}
        }
    }
    certificate
}

/// Splits at separators outside quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquote(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\""),
        None => value.to_owned(),
    }
}

/// Bytes in lower-case hexadecimal, as `Hash` has them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
