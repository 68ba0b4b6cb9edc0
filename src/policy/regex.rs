//! Regular expressions that Envoy's engine, RE2, will take. Envoy refuses a whole route table for one that it does not, and keeps on with the
//! old one for all of its hosts.
//!
//! The syntax is read by the crate that Rust's own engine reads it with, which is close to RE2's: neither has look-around or
//! back-references. What Rust takes and RE2 does not is refused here (github.com/google/re2/wiki/Syntax). The other way round, a few things
//! that RE2 would take are refused too: a brace that means itself has to be written as `\{`.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flag, Flags, FlagsItemKind, GroupKind,
    HexLiteralKind, Literal, LiteralKind, RepetitionKind, RepetitionRange,
};
use regex_syntax::hir::translate::Translator;

/// RE2's limit: how often something may be repeated in all, nested repetitions multiplied.
const MAX_REPETITION: usize = 1000;

/// In steps of the compiled program, roughly. RE2 refuses what takes more than its memory; this is well below.
const MAX_SIZE: usize = 20_000;

/// What is wrong with an expression.
///
/// # Errors
/// In words, without the expression.
pub(super) fn check(expression: &str) -> Result<(), String> {
    let ast = Parser::new().parse(expression).map_err(|error| error.kind().to_string())?;
    Translator::new().translate(expression, &ast).map_err(|error| error.kind().to_string())?;
    ast::visit(&ast, Re2 { repetition: vec![1], size: 0 })
}

/// Looks for what RE2 does not have.
struct Re2 {
    /// How often what is looked at is repeated, for each repetition around it; the last one is the product.
    repetition: Vec<usize>,
    size: usize,
}

impl Re2 {
    fn add(&mut self, steps: usize) -> Result<(), String> {
        let times = self.repetition.last().copied().unwrap_or(1);
        self.size = self.size.saturating_add(steps.saturating_mul(times));
        if self.size > MAX_SIZE {
            Err("the expression is too large, with all its repetitions".to_owned())
        } else {
            Ok(())
        }
    }
}

impl ast::Visitor for Re2 {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::Empty(_) | Ast::Alternation(_) | Ast::Concat(_) => self.add(1),
            Ast::Flags(set) => flags(&set.flags),
            Ast::Literal(it) => literal(it).and_then(|()| self.add(it.c.len_utf8())),
            Ast::Dot(_) => self.add(10),
            Ast::Assertion(it) => match it.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => self.add(1),
                _ => Err("RE2 knows \\b and \\B alone of words' ends".to_owned()),
            },
            Ast::ClassUnicode(class) => unicode(class).and_then(|()| self.add(500)),
            Ast::ClassPerl(_) => self.add(10),
            Ast::ClassBracketed(_) => self.add(10),
            Ast::Repetition(it) => {
                if matches!(*it.ast, Ast::Repetition(_)) {
                    return Err("a repetition is repeated: put the inner one into (?:…)".to_owned());
                }
                let times = match &it.op.kind {
                    RepetitionKind::Range(RepetitionRange::Exactly(most) | RepetitionRange::Bounded(_, most)) => *most,
                    RepetitionKind::Range(RepetitionRange::AtLeast(least)) => *least,
                    _ => 1,
                };
                let around = self.repetition.last().copied().unwrap_or(1);
                let times = around.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX).max(1));
                if times > MAX_REPETITION {
                    return Err(format!("more than {MAX_REPETITION} repetitions"));
                }
                self.repetition.push(times);
                Ok(())
            }
            Ast::Group(group) => match &group.kind {
                GroupKind::CaptureIndex(_) => self.add(2),
                GroupKind::NonCapturing(it) => flags(it),
                GroupKind::CaptureName { name, .. } => {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    if name.name.chars().all(is_word) {
                        self.add(2)
                    } else {
                        Err("the name of a group is of letters, digits and \"_\"".to_owned())
                    }
                }
            },
        }
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), String> {
        if matches!(ast, Ast::Repetition(_)) {
            self.repetition.pop();
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Literal(it) => literal(it).and_then(|()| self.add(it.c.len_utf8())),
            ClassSetItem::Range(it) => literal(&it.start).and_then(|()| literal(&it.end)).and_then(|()| self.add(10)),
            ClassSetItem::Unicode(class) => unicode(class).and_then(|()| self.add(500)),
            ClassSetItem::Empty(_)
            | ClassSetItem::Ascii(_)
            | ClassSetItem::Perl(_)
            | ClassSetItem::Bracketed(_)
            | ClassSetItem::Union(_) => self.add(10),
        }
    }
}

fn flags(flags: &Flags) -> Result<(), String> {
    let is_known = |flag: &Flag| {
        matches!(flag, Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed)
    };
    let all_known = flags.items.iter().all(|item| match &item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => is_known(flag),
    });
    if all_known { Ok(()) } else { Err("RE2 has the flags i, m, s and U alone".to_owned()) }
}

fn literal(literal: &Literal) -> Result<(), String> {
    match &literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("RE2 has no \\u: write \\x{…}".to_owned())
        }
        _ => Ok(()),
    }
}

/// RE2 knows general categories by their short names, and scripts, which are left out here.
fn unicode(class: &ClassUnicode) -> Result<(), String> {
    let is_category = |name: &str| match name.as_bytes() {
        [major] => b"CLMNPSZ".contains(major),
        [major, minor] => b"CLMNPSZ".contains(major) && minor.is_ascii_lowercase(),
        _ => false,
    };
    let known = match &class.kind {
        ClassUnicodeKind::OneLetter(letter) => is_category(letter.encode_utf8(&mut [0; 4])),
        ClassUnicodeKind::Named(name) => is_category(name),
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if known { Ok(()) } else { Err("\\p is for categories such as \\p{Lu}".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn expressions_of_paths_are_taken() {
        for expression in [
            "/v[0-9]+/.*",
            "/a(?:b|c)?$",
            "(?i)/users/\\d{1,8}/\\w+",
            "^/a\\.b/[^/]*",
            "(?P<id>[a-z]+)",
            "/\\x{e9}\\pL\\p{Lu}",
            "",
            "/(a|)b*?",
        ] {
            assert_eq!(check(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for expression in [
            "(",
            ")",
            "[a",
            "a**",
            "*",
            "a{2}{3}",
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "\\1",
            "a{1001}",
            "(?:a{40}){40}",
            "[z-a]",
            "(?x)a",
            "\\u0061",
            "\\<a",
            "\\b{start}",
            "\\p{Alphabetic}",
            "\\p{Foo}",
            "\\q",
            "(?P<a>b)(?P<a>c)",
            "a{3,2}",
            "(?P<a.b>c)",
            "(?:\\pL{50}){20}",
        ] {
            assert!(check(expression).is_err(), "{expression}");
        }
    }
}
