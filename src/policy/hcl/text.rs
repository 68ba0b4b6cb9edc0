//! Texts: quoted, and here-documents.

use zeroize::Zeroizing;

use super::{Mistake, Parsed, Parser, is_letter};

impl Parser<'_> {
    /// Go's escapes. Within `${…}`, which is kept as it is, quotes and line breaks are part of it.
    pub(super) fn string(&mut self) -> Parsed<Zeroizing<String>> {
        let opened = self.at;
        let unclosed = || Mistake { at: opened, message: "this string is never closed".to_owned() };
        self.next();
        let (mut text, mut braces) = (Zeroizing::new(String::new()), 0_usize);
        loop {
            match self.next().ok_or_else(unclosed)? {
                '"' if braces == 0 => return Ok(text),
                '\n' if braces == 0 => return Err(unclosed()),
                '\\' if braces == 0 => text.push(self.escape()?),
                sign => {
                    match sign {
                        '$' if braces == 0 && self.peek() == Some('{') => {
                            text.push('$');
                            self.next();
                            text.push('{');
                            braces = 1;
                            continue;
                        }
                        '{' if braces > 0 => braces += 1,
                        '}' if braces > 0 => braces -= 1,
                        _ => {}
                    }
                    text.push(sign);
                }
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let at = self.at;
        let unknown =
            || Mistake { at, message: "an escape that does not exist; write `\\\\` for a backslash".to_owned() };
        let sign = self.next().ok_or_else(unknown)?;
        let (digits, radix) = match sign {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            '\\' | '"' => return Ok(sign),
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => (2, 8),
            _ => return Err(unknown()),
        };
        let mut code = if radix == 8 { sign.to_digit(8).unwrap_or_default() } else { 0 };
        for _ in 0..digits {
            let digit = self.next().and_then(|sign| sign.to_digit(radix)).ok_or_else(unknown)?;
            code = code.checked_mul(radix).and_then(|code| code.checked_add(digit)).ok_or_else(unknown)?;
        }
        char::from_u32(code).ok_or_else(unknown)
    }

    /// `<<EOF` up to a line that is `EOF`; with `<<-EOF` the indent of the last line leaves every line.
    pub(super) fn here_document(&mut self) -> Parsed<Zeroizing<String>> {
        let opened = self.at;
        self.skip(2);
        let indented = self.take('-');
        let anchor = self.while_is(|sign| is_letter(sign) || sign.is_numeric());
        self.take('\r');
        if anchor.is_empty() || !self.take('\n') {
            return Err(Mistake {
                at: opened,
                message: "a here-document begins with `<<WORD` at a line's end".to_owned(),
            });
        }
        let mut lines: Vec<&str> = Vec::new();
        loop {
            if self.rest.is_empty() {
                let message = format!("this here-document does not end: there is no line {anchor:?}");
                return Err(Mistake { at: opened, message });
            }
            let line = self.while_is(|sign| sign != '\n');
            if line.trim() == anchor {
                let indent = if indented { &line[..line.len() - line.trim_start().len()] } else { "" };
                let all = lines.iter().all(|line| line.starts_with(indent));
                let cut = if all { indent.len() } else { 0 };
                let mut text = Zeroizing::new(String::new());
                for line in lines {
                    text.push_str(&line[cut..]);
                    text.push('\n');
                }
                return Ok(text);
            }
            lines.push(line);
            self.take('\n');
        }
    }
}
