//! "Did you mean": the known word that a mistyped one was probably meant to be.

/// The hint for `word`, which is none of `known`: the nearest one when one is near, otherwise all of them.
pub(super) fn hint(word: &str, known: &[&str]) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    Some(match nearest(word, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known here: {}", known.join(", ")),
    })
}

/// The member of `known` nearest to `word`, if it is so near that a slip of the finger explains the difference.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // A long word is cut: the distance is quadratic in length, and no known name is longer.
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), *name))
        .filter(|(score, _)| *score >= 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
