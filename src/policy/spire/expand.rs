//! `--expand-env`: `$NAME` and `${NAME}` in a configuration file, as SPIRE expands them (Go's `os.Expand`).

/// The text with each variable's value in its place, `$$` as `$`, and the names of variables that are not set: they count as empty.
pub(super) fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> (String, Vec<String>) {
    let (mut out, mut missing, mut rest) = (String::with_capacity(text.len()), Vec::new(), text);
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let (name, length) = name(rest);
        rest = &rest[length..];
        match name {
            "$" => out.push('$'),
            // A dollar before something else stands for itself.
            "" if length == 0 => out.push('$'),
            "" => {}
            name => match variable(name) {
                Some(value) => out.push_str(&value),
                None => missing.push(name.to_owned()),
            },
        }
    }
    out.push_str(rest);
    (out, missing)
}

/// The name behind a dollar, and how many bytes it takes with its braces.
fn name(text: &str) -> (&str, usize) {
    if let Some(inner) = text.strip_prefix('{') {
        return match inner.find('}') {
            Some(end) => (&inner[..end], end + 2),
            // Go takes the brace away with the dollar.
            None => ("", 1),
        };
    }
    if text.starts_with('$') {
        return ("$", 1);
    }
    let end = text.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(text.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_dollars_are_kept() {
        let set = |name: &str| (name == "TD").then(|| "example.org".to_owned());
        let expanded = |text: &str| expand(text, set);
        assert_eq!(
            expanded("a = \"$TD\"\nb = \"${TD}x\""),
            ("a = \"example.org\"\nb = \"example.orgx\"".into(), vec![])
        );
        assert_eq!(expanded("$$TD $ ${"), ("$TD $ ".into(), vec![]));
        assert_eq!(expanded("[$NONE][${OTHER}]"), ("[][]".into(), vec!["NONE".to_owned(), "OTHER".to_owned()]));
    }
}
